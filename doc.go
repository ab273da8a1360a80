// Package mtwire implements the MTProto transports, for clients and servers:
// everything between a socket and an MTProto message.
//
// A client dials an endpoint, named by a URL, and exchanges packets:
//
//	conn, err := mtwire.Dial(ctx, "tcp://149.154.167.51:443?protocol=intermediate", nil)
//	...
//	err = conn.Send(ctx, message)
//	packet, err := conn.Receive(ctx)
//
// A server accepts every transport on one port. It detects the transport of a
// connection by the first bytes:
//
//	ln, err := mtwire.Listen("tcp", ":443", nil)
//	...
//	err = ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) { ... })
//
// A packet is a whole MTProto message, encrypted or not, which this package does
// not look into; or a quick acknowledgement, or a transport error: see Packet and
// TransportError. An MTProxy's secret and link are endpoints like any other.
//
// # The specification and the files
//
// Sections of https://core.telegram.org/mtproto/mtproto-transports and the files
// that implement them:
//
//	Abridged, Intermediate,         frame/decoder.go, frame/encoder.go
//	  Padded intermediate, Full
//	Padding                         frame/padding.go
//	Quick ack                       frame/quickack.go
//	Transport errors                frame/transporterror.go
//	Transport obfuscation           obfuscation/init.go (client),
//	                                obfuscation/match.go (server),
//	                                obfuscation/conn.go
//	  DC id                         datacenter/dc.go
//	  MTProxy secrets and links     mtproxy/secret.go, mtproxy/link.go
//	  FakeTLS (ee secrets)          faketls/clienthello.go, serverhello.go,
//	                                record.go
//
// Sections of https://core.telegram.org/mtproto/transports:
//
//	TCP                             stream.go
//	WebSocket                       wsconn/dial.go, wsconn/server.go
//	HTTP, HTTPS                     httpconn/client.go, httpconn/server.go,
//	                                httpconn/handler.go
//	URI format                      datacenter/url.go
//
// Not specified:
//
//	WEB proxies                     dialweb.go, package webproxy
//	Detection of the transport      detect/detect.go, internal/handshake
//	Addresses of data centres       datacenter/table.go
//
// # Memory and time
//
// A length is checked before memory is allocated for it, and memory grows as bytes
// arrive. A silent connection has no buffer. Over TCP, plain or obfuscated, Send and
// Receive allocate nothing, and Send makes one Write for a packet; see Conn.Send for
// the other transports, and Conn for what is different over HTTP.
package mtwire
