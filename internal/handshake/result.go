package handshake

import (
	"net"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/obfuscation"
)

// Result is the result of a handshake. It has key streams and no ciphers: the caller
// starts the ciphers that it needs.
type Result struct {
	detect.Transport

	// Conn is the connection that carries the rest of the stream: the socket, or
	// the TLS or WebSocket connection over it. It has no deadline.
	Conn net.Conn

	// Buffered is the part of the stream that was read from Conn before: without
	// the records of FakeTLS, and still obfuscated. It belongs to the caller and
	// has at most one read's bytes, about 64 KiB.
	Buffered []byte

	// Records removes the records of FakeTLS from the bytes of Conn. It is nil
	// without FakeTLS.
	Records *faketls.Deframer

	// Upload and Download are the key streams from the client and to it, if
	// Obfuscated. The init payload has used the first 64 bytes of Upload.
	Upload, Download obfuscation.KeyStream

	// Trailer is the last two bytes of the init payload.
	Trailer [2]byte
}
