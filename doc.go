// Package mtwire speaks the MTProto transports, as a client and as a server:
// everything between a socket and an MTProto message.
//
// A client dials an endpoint, named by a URL, and exchanges packets:
//
//	conn, err := mtwire.Dial(ctx, "tcp://149.154.167.51:443?protocol=intermediate", nil)
//	...
//	err = conn.Send(ctx, message)
//	packet, err := conn.Receive(ctx)
//
// A server listens on one port and takes every transport there is; what a
// client has chosen is found out from its first bytes:
//
//	ln, err := mtwire.Listen("tcp", ":443", nil)
//	...
//	err = ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) { ... })
//
// A packet is a whole MTProto message, encrypted or not; this package does not
// look inside. Beside messages there are quick acknowledgements and transport
// errors: see Packet and TransportError. MTProxy's secrets and links are
// endpoints like any other.
//
// # The specification and the files
//
// Sections of https://core.telegram.org/mtproto/mtproto-transports and where
// to read them here:
//
//	Abridged, Intermediate,         frame/decoder.go, frame/encoder.go
//	  Padded intermediate, Full
//	Padding                         frame/padding.go
//	Quick ack                       frame/quickack.go
//	Transport errors                frame/transporterror.go
//	Transport obfuscation           obfuscation/init.go (client),
//	                                obfuscation/match.go (server),
//	                                obfuscation/conn.go
//	  DC id                         obfuscation/dc.go
//	  MTProxy secrets               obfuscation/secret.go, link.go
//	  FakeTLS (ee secrets)          faketls/clienthello.go, serverhello.go,
//	                                record.go
//
// And of https://core.telegram.org/mtproto/transports:
//
//	TCP                             stream.go
//	WebSocket                       wsconn/dial.go, wsconn/server.go
//	HTTP, HTTPS                     httpconn/client.go, httpconn/server.go
//	URI format, data centres        datacenter.go
//
// What no page specifies:
//
//	telling the transports apart    detect/detect.go, accept.go
//
// # Memory and time
//
// A length is checked before memory is taken for it, and memory is taken as
// bytes arrive. A connection that is silent has no buffer. Sending and
// receiving over TCP allocates nothing, and makes one Write for a packet.
package mtwire
