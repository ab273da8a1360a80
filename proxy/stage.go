package proxy

// Stage is how far a connection has come. Each includes those before it.
type Stage uint8

const (
	// Accepted: it is open, and the client has sent nothing.
	Accepted Stage = iota
	// ClientBytes: the client's first bytes have come, and are not authenticated.
	ClientBytes
	// ServerHelloSent: a FakeTLS hello with a secret was answered, and the init
	// payload has not come.
	ServerHelloSent
	// Authenticated: the client has a secret.
	Authenticated
	// Dialled: the data centre is connected.
	Dialled
	// FirstByteUp: bytes went to the data centre.
	FirstByteUp
	// FirstByteDown: bytes came from it.
	FirstByteDown
)

var stageNames = [...]string{
	"accepted", "client bytes", "server hello sent", "authenticated", "dialled", "first byte up", "first byte down",
}

// String returns the stage in the words of the log: "accepted", "client bytes",
// "server hello sent", "authenticated", "dialled", "first byte up" or
// "first byte down".
func (s Stage) String() string {
	if int(s) >= len(stageNames) {
		return "unknown"
	}
	return stageNames[s]
}
