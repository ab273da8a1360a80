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

// Packet is a payload, a quick acknowledgement or a transport error. Its fields are
// Kind, Payload, Padding, AckWanted, Token and Code: see frame.Packet.
type Packet = frame.Packet

// The kinds of packets.
const (
	KindPayload        = frame.KindPayload
	KindQuickAck       = frame.KindQuickAck
	KindTransportError = frame.KindTransportError
)

// TransportError is a server's answer in place of a payload, such as 404 for an
// unknown auth key. Test for it with errors.As.
type TransportError = frame.TransportError

// Carrier is the connection below a transport: TCP, WebSocket, HTTP or WEB.
type Carrier = detect.Carrier

// The carriers.
const (
	TCP       = detect.CarrierTCP
	WebSocket = detect.CarrierWebSocket
	HTTP      = detect.CarrierHTTP
	WEB       = detect.CarrierWEB
)

// Transport describes the layers of a connection: see detect.Transport. On a server
// it is known after the handshake.
type Transport = detect.Transport
