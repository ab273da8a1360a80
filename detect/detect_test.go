package detect

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/mtwire/mtwire/frame"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// The cases are the rows of the table, and bytes that differ a little from them.
func TestFirstBytesDecide(t *testing.T) {
	random := bytes.Repeat([]byte{0x5b}, 64)
	with := func(prefix string) []byte { return append(unhex(prefix), random[len(prefix)/2:]...) }
	for _, test := range []struct {
		name  string
		first []byte
		want  Result
	}{
		{"nothing", nil, Result{Kind: More, Need: 1}},
		{"abridged", unhex("ef"), Result{Kind: Framed, Protocol: frame.Abridged, Header: 1}},
		{"one byte of intermediate", unhex("ee"), Result{Kind: More, Need: 4}},
		{"intermediate", unhex("eeeeeeee"), Result{Kind: Framed, Protocol: frame.Intermediate, Header: 4}},
		{"padded", unhex("dddddddd"), Result{Kind: Framed, Protocol: frame.PaddedIntermediate, Header: 4}},
		{"GET", []byte("GET "), Result{Kind: HTTP}},
		{"POST", []byte("POST"), Result{Kind: HTTP}},
		{"HEAD", []byte("HEAD"), Result{Kind: HTTP}},
		{"OPTIONS", []byte("OPTI"), Result{Kind: HTTP}},
		{"PUT may begin an init payload", append([]byte("PUT "), random[4:]...), Result{Kind: Obfuscated}},
		{"one byte of TLS", unhex("16"), Result{Kind: More, Need: 3}},
		{"TLS", unhex("160301"), Result{Kind: TLS}},
		{"TLS 1.2 record", unhex("160303"), Result{Kind: TLS}},
		{"another record version", with("16030200"), Result{Kind: Obfuscated}},
		{"full", unhex("3400000000000000"), Result{Kind: Framed, Protocol: frame.Full}},
		{"full in part", unhex("34000000000000"), Result{Kind: More, Need: 8}},
		{"full length not in words", with("3500000000000000"), Result{Kind: Obfuscated}},
		{"full length beyond the limit", with("0000007000000000"), Result{Kind: Obfuscated}},
		{"zeros", make([]byte, 64), Result{Kind: Obfuscated}},
		{"eight bytes of an init payload", random[:8], Result{Kind: More, Need: 64}},
		{"an init payload", random, Result{Kind: Obfuscated}},
	} {
		if got := First(test.first, 0); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

// FuzzFirst checks that bytes which arrive one by one have the same result as all at
// once, that Need is always more than the bytes so far, and that InitLength bytes
// are enough.
func FuzzFirst(f *testing.F) {
	for _, s := range []string{"ef", "eeeeeeee", "dddddddd", "160301", "3400000000000000", "47455420"} {
		f.Add(unhex(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		all := First(b, 0)
		if all.Kind == More && (all.Need <= len(b) || all.Need > InitLength) {
			t.Fatalf("%x: %+v", b, all)
		}
		for n := range b {
			r := First(b[:n], 0)
			if r.Kind == More {
				continue
			}
			if r != all {
				t.Fatalf("%x: %+v after %d bytes, %+v in the end", b, r, n, all)
			}
			break
		}
		if len(b) >= InitLength && all.Kind == More {
			t.Fatalf("%x: undecided", b)
		}
	})
}
