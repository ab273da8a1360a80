package frame

// Side is an end of a connection. It matters to the wire: the same bit means
// one thing from a client and another from a server.
type Side uint8

const (
	Client Side = iota
	Server
)

// String returns "client" or "server".
func (s Side) String() string {
	if s == Server {
		return "server"
	}
	return "client"
}

// Kind says what a Packet holds. The zero value is KindPayload.
type Kind uint8

const (
	// KindPayload is an MTProto message, encrypted or not.
	KindPayload Kind = iota
	// KindQuickAck is a token that a server sends for a packet that asked
	// for it. Server to client only.
	KindQuickAck
	// KindTransportError is a negative number in place of a payload. Server
	// to client only.
	KindTransportError
	// KindNOP is the number zero in place of a payload: nothing is meant by
	// it. Server to client only.
	KindNOP
)

// String returns the kind's name for logs.
func (k Kind) String() string {
	switch k {
	case KindPayload:
		return "payload"
	case KindQuickAck:
		return "quick ack"
	case KindTransportError:
		return "transport error"
	case KindNOP:
		return "nop"
	}
	return "unknown"
}

// Packet is one packet of a transport. Its zero value is an empty payload,
// which no transport can carry.
//
// A Packet that a Decoder returned shares the memory of the buffer it was
// parsed from, and is good for as long as that buffer is left alone.
type Packet struct {
	Kind Kind

	// AckWanted asks the server for a quick acknowledgement of this payload.
	AckWanted bool

	// Token is the quick acknowledgement, top bit set. KindQuickAck only.
	Token uint32

	// Code is the error's number, positive. KindTransportError only.
	Code uint32

	// Payload is the message, a multiple of four bytes, without padding. In
	// the other kinds a Decoder leaves the packet's own four or eight bytes
	// here, and an Encoder ignores it.
	Payload []byte

	// Padding is what followed the payload inside a PaddedIntermediate frame,
	// and lies directly behind it in memory. An Encoder writes fresh random
	// padding when it is nil (none behind a transport error), and exactly these
	// bytes when it is not.
	Padding []byte
}

// Untrimmed returns the payload together with its padding, as they stood in
// the frame: what an endpoint that forwards packets in PaddedIntermediate
// passes on, since only the last receiver can tell padding from message. It
// shares the memory of a decoded packet, and copies one put together by hand.
func (p Packet) Untrimmed() []byte {
	if len(p.Padding) == 0 {
		return p.Payload
	}
	n := len(p.Payload) + len(p.Padding)
	if cap(p.Payload) >= n && &p.Payload[:n][len(p.Payload)] == &p.Padding[0] {
		return p.Payload[:n]
	}
	return append(append(make([]byte, 0, n), p.Payload...), p.Padding...)
}

// Err returns the packet's transport error, or nil in the other kinds.
func (p Packet) Err() error {
	if p.Kind == KindTransportError {
		return &TransportError{Code: p.Code}
	}
	return nil
}
