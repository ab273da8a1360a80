// Package handshake implements a server's handshake: it reads the first bytes of a
// connection, detects the transport, authenticates the client by its secret and
// removes the layers below, until packets in a framing or HTTP requests remain. It
// returns a Result. Package mtwire makes a Conn of it, package proxy relays it.
//
//	config.go      the transports and clients that a server accepts
//	auth.go        Auth: keys, replays, limits
//	handshake.go   Handshake: waiting, reading, time limits, resuming
//	identify.go    from the first bytes to the next layer
//	obfuscated.go  the init payload
//	faketls.go     the ClientHello of an ee secret
//	carriers.go    TLS, WebSocket, HTTP
//	reject.go      unauthenticated clients
//	replayconn.go  a connection with bytes put back in front
//	result.go      Result
package handshake
