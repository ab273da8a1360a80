package frame

import (
	"bytes"
	"testing"
)

// The auth key is 00 01 … ff, the plaintext 64 bytes of 42 for MTProto 2.0 and 50
// for MTProto 1.0.
func TestQuickAckTokensMatchTheWorkedExamples(t *testing.T) {
	key := make([]byte, 256)
	for i := range key {
		key[i] = byte(i)
	}
	if got := QuickAckToken(key, bytes.Repeat([]byte{0x42}, 64), Client); got != 0x9e42fb8a {
		t.Errorf("2.0: %08x", got)
	}
	if got := QuickAckTokenV1(bytes.Repeat([]byte{0x42}, 50)); got != 0x980322a9 {
		t.Errorf("1.0: %08x", got)
	}
}
