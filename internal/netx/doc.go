// Package netx has helpers for network connections that package net lacks: a
// context for one operation or for a direction's repeated calls, a mutex with a
// context, half-close, an accept loop.
//
//	anyconn.go        deadlines over any net.Conn; pumpedconn.go if it has none
//	acceptloop.go     accepting connections in spite of temporary errors
//	below.go          finding a layer of a connection
//	connect_linux.go  connecting a Socket; listener_linux.go: accepting them
//	deadline.go       contexts for the repeated calls of one direction
//	discard.go        reading from a client that gets no answer
//	finalresponse.go  the final response to an HTTP request
//	halfclose.go      closing the sending direction
//	hostport.go       splitting and checking host:port
//	interrupt.go      a context for one operation on a connection
//	localerrors.go    failures of this machine, which are no address's
//	liveness.go       detecting that a TCP peer has gone
//	mutex.go          a mutex whose Lock takes a context
//	rawcall_linux.go  system calls that do not wait
//	requesthead.go    strict checks of an HTTP request's head
//	socket_linux.go   a TCP connection that is a bare descriptor while nothing waits
//	tlsconfig.go      TLS without HTTP/2
//	write.go          a write with a context, which mostly does not wait
package netx
