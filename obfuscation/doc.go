// Package obfuscation hides MTProto's framings behind AES-256-CTR: the 64-byte
// init payload that opens a connection, the two key streams that come from it,
// and a net.Conn on top of them. MTProxy is this obfuscation with a secret
// mixed into the keys, so its secrets and links are here as well.
//
//	init.go    the init payload, its forbidden beginnings, the key schedule
//	match.go   the server's side: which secret, which framing, which DC
//	conn.go    the net.Conn
//	dc.go      data centre numbers
//	secret.go  MTProxy secrets
//	link.go    tg://proxy and https://t.me/proxy
//
// Obfuscation is no secrecy: without a secret the keys lie open in the init
// payload. It gives no integrity either. MTProto inside it brings both.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
package obfuscation
