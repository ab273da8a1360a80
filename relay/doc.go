// Package relay passes MTProto packets between clients of any transport and servers of
// any other: a data centre, a proxy, a test server.
//
//	relay.go         Relay: the handler of a Listener
//	session.go       one client: its packets, its server, and the next one if that fails
//	repeat.go        POSTs that have failed, sent again
//	ends.go          the ends of its two directions
//	queue.go         the packets on their way to one side
//	endpoints.go     the servers, in order, and their health
//	selfloop.go      endpoints that lead back to the relay
//	liveness.go      peers that have gone without an end
//	log.go           records of sessions
//	admission.go     limits for clients without a secret, and for memory
//	loadbalancer.go  clients' addresses from PROXY protocol headers
//
// A packet's bytes are not changed. Where the two transports differ it is framed anew:
// a quick acknowledgement is requested and answered, a transport error and padding are
// passed on, wherever the other transport has them.
package relay
