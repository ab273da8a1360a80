//go:build !amd64

package aesctr

func hasVAES() bool { return false }

func xorVAES([]byte, []byte, *Stream, *Stream) { panic("internal error: no VAES") }
