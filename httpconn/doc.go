// Package httpconn carries MTProto over HTTP and HTTPS: one message in the body
// of a POST, one message in the body of its response, with neither framing nor
// obfuscation. Client and Server therefore send and receive packets; neither
// is a net.Conn. Request is a POST to an http.Server.
//
// A server cannot push: each packet needs an open request. To receive packets at
// any time, a client keeps a request open (long polling) with the service message
// http_wait, which the application sends.
//
// Specification: https://core.telegram.org/mtproto/transports#http
package httpconn
