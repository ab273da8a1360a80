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
// [Client] and [Server] make a net.Conn of another one. The parts that do no
// I/O serve programs with buffers of their own: [ParseClientHello],
// [AppendClientHello], [AppendServerHello], [VerifyServerHello],
// [ParseRecordHeader], [AppendRecordHeader], [Deframer] and
// [ServerConfig.Check].
//
// A server that refuses a hello has written nothing, and its *[RejectError]
// holds every byte it read, so that the same bytes can be tried as another
// transport or be passed to the web site that the domain names.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
// and, for the layout of both hellos,
// https://www.rfc-editor.org/rfc/rfc8446#section-4.1
package faketls
