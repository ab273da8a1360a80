// Package wsconn carries an MTProto byte stream over WebSocket, as client and
// as server. A Conn is a net.Conn: Write sends binary messages, and Read returns
// the concatenated contents of the peer's binary messages. The boundaries between
// messages have no meaning.
//
// The sub-protocol "binary" is required on both sides. The package has no other
// part of MTProto: obfuscation, which WebSocket requires, and framing are layers
// inside the stream.
//
// Compression is neither offered nor accepted, because ciphertext does not
// compress. The length of a message has no limit, because Read returns its bytes
// as they arrive and the package never holds a whole message. The decoder of the
// stream limits the length of MTProto packets.
//
// In a browser (js/wasm) Dial uses the browser's WebSocket, which returns whole
// messages, and Server and Accept fail with errors.ErrUnsupported.
//
// Specification: https://core.telegram.org/mtproto/transports#websocket
package wsconn
