package frame

// Side is an end of a connection. The wire format depends on it: the same bit has
// one meaning from a client and another from a server.
type Side uint8

// The sides.
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

// Kind is the kind of a Packet. The zero value is KindPayload.
type Kind uint8

const (
	// KindPayload is an MTProto message, encrypted or not.
	KindPayload Kind = iota
	// KindQuickAck is the token of a quick acknowledgement, which answers a
	// packet with AckWanted. Server to client only.
	KindQuickAck
	// KindTransportError is a negative number in place of a payload. Server
	// to client only.
	KindTransportError
	// KindNOP is the number zero in place of a payload, which a client ignores.
	// Server to client only.
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

// Packet is one packet of a transport. Its zero value is an empty payload, which
// an Encoder refuses.
//
// A Packet from a Decoder shares the memory of the parsed buffer and is valid until
// the buffer is changed.
type Packet struct {
	Kind Kind

	// AckWanted requests a quick acknowledgement of this payload from the server.
	AckWanted bool

	// Token is the quick acknowledgement, with its top bit set. KindQuickAck only.
	Token uint32

	// Code is the error code, positive. KindTransportError only.
	Code uint32

	// Payload is the message, a multiple of four bytes, without padding. For
	// other kinds a Decoder sets it to the four or eight bytes of the packet, and
	// an Encoder ignores it.
	Payload []byte

	// Padding is the rest of a PaddedIntermediate frame. A Decoder returns it
	// directly after Payload in memory. If it is nil, an Encoder adds random
	// padding (none to a transport error); otherwise it adds exactly these bytes.
	Padding []byte
}

// Untrimmed returns payload and padding together, as the frame had them. An
// endpoint that forwards packets in PaddedIntermediate forwards both, because
// only the final receiver can separate padding from message. For a decoded packet
// the result shares its memory; otherwise it is a copy.
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

// Err returns the packet's transport error, or nil for other kinds.
func (p Packet) Err() error {
	if p.Kind == KindTransportError {
		return &TransportError{Code: p.Code}
	}
	return nil
}
