package proxy

// stage is how far a connection has come. Each includes those before it.
type stage uint8

const (
	// accepted: it is open, and has said nothing.
	accepted stage = iota
	// hello: its first bytes have come, and are not known to be good.
	hello
	// helloAnswered: it ended behind a good FakeTLS hello, which was answered.
	helloAnswered
	// authenticated: it knows a secret.
	authenticated
	// dialled: its data centre has been reached.
	dialled
	// firstUp and firstDown: bytes have gone to the data centre, and have come
	// back from it.
	firstUp
	firstDown

	stages
)

// String returns the stage in the words of the log: "accepted", "hello",
// "answered", "authenticated", "dialled", "first byte up", "first byte down".
func (s stage) String() string {
	return [stages]string{"accepted", "hello", "answered", "authenticated", "dialled", "first byte up", "first byte down"}[s]
}
