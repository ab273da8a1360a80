// Package faketls carries a byte stream inside what looks like a TLS 1.3
// connection: the transport behind MTProxy secrets that begin with ee. It is
// not TLS. Nothing is encrypted here; the stream inside is obfuscated on its
// own, and a 16-byte key shared through the secret authenticates both hellos.
//
//	client -> server   ClientHello            its random is an HMAC, its last word hides the clock
//	server -> client   ServerHello, ChangeCipherSpec, one ApplicationData record
//	client -> server   ChangeCipherSpec, then ApplicationData records
//	server -> client   ApplicationData records
//
// The byte stream is the concatenation of the ApplicationData bodies. Record
// borders carry no meaning.
//
// [Client] and [NewConn] return a net.Conn over another one. The functions that
// do no I/O serve programs with their own buffers: [ParseClientHello],
// [CheckClock], [AppendClientHello], [AppendServerHello], [VerifyServerHello],
// [ParseRecordHeader], [AppendRecordHeader] and [Deframer].
//
// A server calls ParseClientHello on the bytes received so far, finds the key
// with [ClientHello.MatchAny], compares the clocks with CheckClock, sends what
// AppendServerHello returns, and continues with NewConn. Until it sends that, it
// has all the client's bytes and has written nothing, so that it can treat them
// as another transport or forward them to the site that the secret's domain
// names.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
// and, for the layout of both hellos,
// https://www.rfc-editor.org/rfc/rfc8446#section-4.1
package faketls
