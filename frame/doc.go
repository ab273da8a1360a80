// Package frame is the wire layer of the MTProto transports: the four
// framings, quick acknowledgements and transport errors, as operations on
// byte slices. It does no I/O and depends on the standard library alone: a
// connection, a proxy and a capture reader share it.
//
// A Decoder parses packets at the front of a buffer without copying. An Encoder
// appends packets to a buffer. Both need the side that sends the bytes, because
// the top bit of a length requests a quick acknowledgement if a client sets it,
// and marks a quick acknowledgement if a server does.
//
//	protocol.go        the framings, their names, headers and tags
//	packet.go          the contents of a frame
//	decoder.go         bytes to packets, and the limits
//	encoder.go         packets to bytes
//	padding.go         the random tail of PaddedIntermediate
//	quickack.go        the token of a quick acknowledgement
//	transporterror.go  error codes such as 404
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports
package frame
