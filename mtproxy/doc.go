// Package mtproxy has the credentials of MTProxy: secrets, the links that carry
// them, and the modes in which clients use them.
//
//	secret.go  secrets, in every spelling
//	link.go    tg://proxy and https://t.me/proxy
//	keyset.go  the keys of many secrets
//	mode.go    classic, dd and ee, and which of them a secret allows
package mtproxy
