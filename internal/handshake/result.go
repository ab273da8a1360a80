package handshake

import (
	"net"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/obfuscation"
)

// Result is what a handshake found. No cipher runs yet: the caller starts those
// it uses.
type Result struct {
	detect.Transport

	// Conn is the connection that carries what follows: the socket, unless TLS
	// or WebSocket is in between. It has no deadline.
	Conn net.Conn

	// Buffered is what was read from Conn and belongs to what follows, with the
	// records of FakeTLS removed and still obfuscated. It belongs to the caller.
	Buffered []byte

	// Records removes the records of FakeTLS from what follows on Conn. Nil
	// means that there are none.
	Records *faketls.Deframer

	// Upload and Download are the key streams from the client and to it, if
	// Obfuscated. The init payload has used the first 64 bytes of Upload.
	Upload, Download obfuscation.KeyStream
}
