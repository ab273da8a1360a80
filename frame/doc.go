// Package frame is the wire layer of the MTProto transports: the four
// framings, quick acknowledgements and transport errors, as operations on
// byte slices. It does no I/O and depends on the standard library alone, so
// that a connection, a proxy and a capture reader can share it.
//
// A Decoder cuts packets from the front of a buffer, without copying; an
// Encoder appends packets to one. Both know who sends the bytes, because the
// top bit of a length asks for a quick acknowledgement when it comes from a
// client and is a quick acknowledgement when it comes from a server.
//
//	protocol.go        the framings, their names, headers and tags
//	packet.go          what a frame can hold
//	decoder.go         bytes to packets, and the limits
//	encoder.go         packets to bytes
//	padding.go         the random tail of PaddedIntermediate
//	quickack.go        the token
//	transporterror.go  404 and its like
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports
package frame
