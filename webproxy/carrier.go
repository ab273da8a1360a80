package webproxy

import (
	"fmt"
	"strings"
)

// Carrier is how a session's batches move. The relay chooses it, and it stays the
// same for a session.
type Carrier uint8

const (
	// HTTPS has one upload request and one long poll at a time. It is the default,
	// and passes most networks and reverse proxies.
	HTTPS Carrier = iota
	// HTTPSLanes has an upload and a long poll for each stream. It needs HTTP/2: in
	// HTTP/1.1 browsers have six connections to a host.
	HTTPSLanes
	// WebSocket has one WebSocket for all streams.
	WebSocket
	// WebSocketLanes has a WebSocket for each stream.
	WebSocketLanes
)

var carrierNames = [...]string{"https", "https-lanes", "websocket", "websocket-lanes"}

// String returns the carrier's name in the protocol, such as "https-lanes".
func (c Carrier) String() string {
	if int(c) < len(carrierNames) {
		return carrierNames[c]
	}
	return fmt.Sprintf("carrier %d", uint8(c))
}

// MarshalText returns the same text as String.
func (c Carrier) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText parses the text that String returns. After an error c is
// unchanged.
func (c *Carrier) UnmarshalText(text []byte) error {
	for i, name := range carrierNames {
		if string(text) == name {
			*c = Carrier(i)
			return nil
		}
	}
	return fmt.Errorf("unknown carrier %.40q: want %s", text, strings.Join(carrierNames[:], ", "))
}

func (c Carrier) perStream() bool { return c == HTTPSLanes || c == WebSocketLanes }
func (c Carrier) sockets() bool   { return c == WebSocket || c == WebSocketLanes }

// Sub-protocols of the WebSocket carriers, which carry the session's token.
const (
	subprotocol     = "tproxy-v1."      // TOKEN
	laneSubprotocol = "tproxy-lane-v1." // TOKEN.ID
)

// Headers of the requests and answers, in the form that package http keeps them.
const (
	headerToken   = "X-Session-Token"
	headerCarrier = "X-Carrier-Mode"
	headerUp      = "X-Up-Seq"
	headerUpAck   = "X-Up-Ack"
	headerCursor  = "X-Down-Cursor"
	headerLane    = "X-Lane-Id"
	headerClosed  = "X-Lane-Closed"

	bodyType = "application/octet-stream"
)

// Paths below the base path.
const (
	pathSession = "api/v1/session"
	pathUp      = "api/v1/up"
	pathDown    = "api/v1/down"
	pathSocket  = "api/v1/ws"
)
