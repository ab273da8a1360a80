package mtwire

import (
	"strings"

	"github.com/mtwire/mtwire/frame"
)

// Protocol is one of the four framings.
type Protocol = frame.Protocol

// The four framings.
const (
	Abridged           = frame.Abridged
	Intermediate       = frame.Intermediate
	PaddedIntermediate = frame.PaddedIntermediate
	Full               = frame.Full
)

// Packet is what a connection sends and receives: a payload, a quick
// acknowledgement or a transport error. Its fields are Kind, Payload, Padding,
// AckWanted, Token and Code: see frame.Packet.
type Packet = frame.Packet

// What a Packet holds.
const (
	KindPayload        = frame.KindPayload
	KindQuickAck       = frame.KindQuickAck
	KindTransportError = frame.KindTransportError
)

// TransportError is a server's answer in place of a payload, such as 404 for
// an unknown auth key. Find it with errors.As.
type TransportError = frame.TransportError

// Carrier is what carries the bytes.
type Carrier uint8

const (
	TCP Carrier = iota
	WebSocket
	HTTP
)

// String returns "tcp", "websocket" or "http".
func (c Carrier) String() string {
	switch c {
	case WebSocket:
		return "websocket"
	case HTTP:
		return "http"
	}
	return "tcp"
}

// MarshalText writes the name that String returns.
func (c Carrier) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Transport is what a connection speaks. On a server it is what the client
// chose, known after the handshake.
type Transport struct {
	Carrier Carrier
	// TLS means real TLS below the carrier: wss or https.
	TLS bool
	// FakeTLS means that an ee secret's records are around the stream.
	FakeTLS bool
	// ServerName is the host in the client's TLS or FakeTLS hello. Servers
	// only.
	ServerName string
	// Obfuscated means that an init payload opened the stream.
	Obfuscated bool
	// Protocol is the framing; 0 with HTTP, which needs none.
	Protocol Protocol
	// DC is the data centre that the init payload names, with its sign.
	// Clients that have no proxy secret may leave random bytes in its place.
	DC DC
	// Secret is the place in ListenConfig.Secrets of the one that the client
	// knows, -1 if none. Servers only.
	Secret int
}

// String names the layers from the outside in, as
// "tcp, faketls, obfuscated, padded-intermediate".
func (t Transport) String() string {
	layers := []string{t.Carrier.String()}
	if t.TLS {
		layers = append([]string{"tls"}, layers...)
	}
	if t.FakeTLS {
		layers = append(layers, "faketls")
	}
	if t.Obfuscated {
		layers = append(layers, "obfuscated")
	}
	if t.Protocol != 0 {
		layers = append(layers, t.Protocol.String())
	}
	return strings.Join(layers, ", ")
}
