// Package faketls implements FakeTLS, a byte stream in records that imitate a TLS 1.3
// connection: the transport of MTProxy secrets that begin with ee. It is not TLS. It
// encrypts nothing: the stream in the records is that of package obfuscation. A
// 16-byte key from the secret authenticates both hellos.
//
//	client -> server   ClientHello, whose random is an HMAC, XORed with the client's time
//	server -> client   ServerHello, ChangeCipherSpec, one ApplicationData record
//	client -> server   ChangeCipherSpec, then ApplicationData records
//	server -> client   ApplicationData records
//
// The byte stream is the concatenation of the bodies of ApplicationData records. The
// boundaries of records have no meaning.
//
// [Client] and [NewConn] return a net.Conn over another one. The functions that
// do no I/O serve programs with their own buffers: [ParseClientHello],
// [CheckClock], [AppendClientHello], [AppendServerHello], [VerifyServerHello],
// [ParseRecordHeader], [AppendRecordHeader] and [Deframer].
//
// A server calls ParseClientHello on the bytes received so far, finds the key
// with [ClientHello.MatchAny], compares the clocks with CheckClock, sends what
// AppendServerHello returns, and continues with NewConn. Until it sends that, it
// has all the client's bytes and has written nothing, so that it can detect another
// transport in them or forward an unauthenticated client to the secret's domain.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
// and, for the layout of both hellos,
// https://www.rfc-editor.org/rfc/rfc8446#section-4.1
package faketls
