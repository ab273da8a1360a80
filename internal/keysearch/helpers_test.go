package keysearch

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// keyOf returns the key of a test's i-th entry.
func keyOf(i int) (key [16]byte) {
	copy(key[:], "a user's secret")
	binary.BigEndian.PutUint32(key[12:], uint32(i))
	return key
}

// entriesOf returns n entries of one mode and domain, from the start-th on.
func entriesOf(start, n int, mode mtproxy.Mode, domain string) (entries []Entry) {
	for i := start; i < start+n; i++ {
		secret := mtproxy.Secret{Key: keyOf(i), Mode: mode, Domain: domain}
		entries = append(entries, Entry{secret, secret.Modes()})
	}
	return entries
}

// withModes returns entries with no other modes than these.
func withModes(entries []Entry, modes mtproxy.Modes) []Entry {
	for i := range entries {
		entries[i].Modes &= modes
	}
	return entries
}

// address returns the i-th of many addresses.
func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// testServer searches for the keys of real hellos and init payloads.
type testServer struct {
	*Search
	*Index
	skipped int // searches that the cost limiter did not allow
}

func newTestServer(entries []Entry) *testServer {
	s := New()
	return &testServer{Search: s, Index: s.NewIndex(entries)}
}

// accept searches for the key of a client that sent first, and returns its
// entry and how many keys were tried. As in a server's handshake, a FakeTLS
// hello without a key may still be an init payload.
func (s *testServer) accept(from netip.Addr, first []byte) (entry, tried int) {
	find := func(q Query, match func([][16]byte) int) int {
		entry, searched := s.Find(s.Index, from, q, func(set *mtproxy.KeySet) int {
			tried += set.Len()
			return match(set.Keys())
		})
		if !searched {
			s.skipped++
		}
		return entry
	}
	entry = -1
	if hello, n, err := faketls.ParseClientHello(first); err == nil {
		entry = find(Query{FakeTLS: true, ServerName: hello.SNI, Length: n}, func(keys [][16]byte) int {
			i, _ := hello.MatchAny(keys)
			return i
		})
	}
	if entry < 0 {
		entry = find(Query{Length: obfuscation.InitLength}, func(keys [][16]byte) int {
			init, err := obfuscation.Match((*[obfuscation.InitLength]byte)(first), keys)
			if err != nil {
				return -1
			}
			return init.Key
		})
	}
	return entry, tried
}

// initOf returns the init payload of a client with that key.
func initOf(t testing.TB, key [16]byte, protocol frame.Protocol) []byte {
	init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: protocol, DC: 2, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	return init[:]
}

// helloOf returns the FakeTLS hello of a client with that key.
func helloOf(t testing.TB, key [16]byte, domain string) []byte {
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: key, Domain: domain})
	if err != nil {
		t.Fatal(err)
	}
	return hello
}

// helloWithoutSNI returns a FakeTLS hello without a server name, as several
// versions of Telegram for iOS send it.
func helloWithoutSNI(t testing.TB, key [16]byte) []byte {
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: key, Domain: "-", Hello: func(string) ([]byte, error) {
		head := append([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), make([]byte, 32)...)
		head = append(append(head, 32), bytes.Repeat([]byte{0x11}, 32)...)
		return append(head, make([]byte, 517-len(head))...), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return hello
}
