package detect

import (
	"strings"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
)

// Carrier is what carries the bytes of a transport.
type Carrier uint8

// The carriers.
const (
	CarrierTCP Carrier = iota
	CarrierWebSocket
	CarrierHTTP
	CarrierWEB // a WEB proxy's stream: see package webproxy
)

// String returns "tcp", "websocket", "http" or "web".
func (c Carrier) String() string {
	switch c {
	case CarrierWebSocket:
		return "websocket"
	case CarrierHTTP:
		return "http"
	case CarrierWEB:
		return "web"
	}
	return "tcp"
}

// MarshalText returns String as bytes.
func (c Carrier) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Transport is what a connection speaks. On a server it is what the client
// chose.
type Transport struct {
	// Carrier is what carries the bytes.
	Carrier Carrier
	// TLS means real TLS below the carrier: wss or https.
	TLS bool
	// FakeTLS means that the stream is in the records of an ee secret.
	FakeTLS bool
	// ServerName is the host in the client's TLS or FakeTLS hello. Servers
	// only.
	ServerName string
	// Obfuscated means that an init payload opened the stream.
	Obfuscated bool
	// Protocol is the framing; 0 with HTTP, which needs none.
	Protocol frame.Protocol
	// DC is the data centre that the init payload names, with its sign.
	// Clients without a proxy secret may leave random bytes in its place.
	DC datacenter.DC
	// Secret is the index of the client's secret among the server's, -1 if the
	// client has none. Servers only.
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
