package mtwire

import (
	"github.com/mtwire/mtwire/detect"
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

// Carrier is what carries the bytes: TCP, WebSocket or HTTP.
type Carrier = detect.Carrier

// The carriers.
const (
	TCP       = detect.CarrierTCP
	WebSocket = detect.CarrierWebSocket
	HTTP      = detect.CarrierHTTP
)

// Transport is what a connection speaks: see detect.Transport. On a server it is
// what the client chose, known after the handshake.
type Transport = detect.Transport
