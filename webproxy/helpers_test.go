package webproxy

import (
	"encoding/hex"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
)

const countingHex = "000102030405060708090a0b0c0d0e0f"

func mustSecret(t testing.TB, text string) mtproxy.Secret {
	t.Helper()
	s, err := mtproxy.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustHex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// batch encodes frames.
func batch(frames ...Frame) (b []byte) {
	for _, f := range frames {
		b = f.Append(b)
	}
	return b
}

func open(id uint32) Frame                 { return Frame{Type: OpenFrame, Stream: id} }
func closing(id uint32) Frame              { return Frame{Type: CloseFrame, Stream: id} }
func data(id uint32, payload string) Frame { return Frame{DataFrame, id, []byte(payload)} }
func window(id, delta uint32) Frame {
	return Frame{WindowFrame, id, appendWindow(nil, id, delta)[HeaderLength:]}
}

// newSession returns a session behind HELLO and WELCOME.
func newSession(t testing.TB, side Side) *Session {
	t.Helper()
	s := NewSession(side)
	first := AppendHello(nil)
	if side == App {
		first = AppendWelcome(nil)
	}
	if frames, err := s.Receive(nil, SharedLane, first); err != nil || len(frames) != 1 {
		t.Fatal(frames, err)
	}
	return s
}
