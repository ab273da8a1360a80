package proxy

// Stage is how far a connection has come. Each includes those before it.
type Stage uint8

const (
	// Accepted: it is open, and has said nothing.
	Accepted Stage = iota
	// Hello: its first bytes have come, and are not known to be good.
	Hello
	// Authenticated: it knows a secret.
	Authenticated
	// Dialled: its data centre has been reached.
	Dialled
	// FirstUp and FirstDown: bytes have gone to the data centre, and have come
	// back from it.
	FirstUp
	FirstDown

	stages
)

// String returns the stage in the words of the log: "accepted", "hello",
// "authenticated", "dialled", "first byte up", "first byte down".
func (s Stage) String() string {
	return [stages]string{"accepted", "hello", "authenticated", "dialled", "first byte up", "first byte down"}[s]
}

// MarshalText writes what String returns.
func (s Stage) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
