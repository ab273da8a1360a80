// Package handshake is the server's handshake: it reads the first bytes of a
// connection, detects the transport, authenticates the client by its secret and
// removes the layers in between, until packets in a framing, or HTTP requests,
// remain. It returns what it found as a Result and keeps nothing; package mtwire
// makes a Conn of that, package proxy relays it.
//
//	config.go      what a server accepts
//	auth.go        the caller's decisions: keys, replays, limits
//	handshake.go   waiting, reading, time limits, resuming
//	identify.go    the first bytes -> the next layer
//	obfuscated.go  the init payload
//	faketls.go     the ClientHello of an ee secret, and its records
//	carriers.go    TLS, WebSocket, HTTP
//	reject.go      unauthenticated clients
//	replayconn.go  bytes put back in front of a connection
//	result.go      what a handshake found
package handshake
