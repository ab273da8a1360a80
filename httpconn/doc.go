// Package httpconn carries MTProto over HTTP and HTTPS: one message in the body
// of a POST, one message in the body of its answer, with neither framing nor
// obfuscation. Client and Server therefore send and receive packets; neither
// is a net.Conn.
//
// A server cannot push. What it has to say waits for a request to answer, and
// a client that wants to hear something keeps a request open for it, by the
// service message http_wait, which is the application's to send.
//
// Specification: https://core.telegram.org/mtproto/transports#http
package httpconn
