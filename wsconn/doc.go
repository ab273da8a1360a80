// Package wsconn carries an MTProto byte stream over WebSocket, as client and
// as server. A Conn is a net.Conn: what is written goes out as binary
// messages, what is read is the contents of the peer's binary messages in a
// row, and where one message ends and the next begins means nothing.
//
// The sub-protocol "binary" is required on both sides. Nothing else of MTProto
// is here: obfuscation, which WebSocket requires, and framing go inside.
//
// Compression is never offered nor accepted: the contents are ciphertext, which
// does not compress. There is no limit on the length of a message either,
// because a message is handed to the caller as it arrives and is never held
// whole; whoever reads frames out of the stream limits those.
//
// Specification: https://core.telegram.org/mtproto/transports#websocket
package wsconn
