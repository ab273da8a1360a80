// Package obfuscation implements MTProto's transport obfuscation: AES-256-CTR over
// a framing, the 64-byte init payload at the start of a connection, and the two key
// streams derived from it. MTProxy is this obfuscation with a secret's key mixed in.
//
//	init.go       the init payload, its forbidden first bytes
//	keystream.go  the key schedule and the ciphers
//	match.go      the server's side: which key, framing and data centre
//	conn.go       a net.Conn
//
// Obfuscation gives neither secrecy nor integrity: without a secret, the keys are
// readable in the init payload. MTProto above it gives both.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
package obfuscation
