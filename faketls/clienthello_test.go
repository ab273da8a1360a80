package faketls

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// The random is the HMAC-SHA256 of the whole record with zeros in bytes 11..43, and its
// last four bytes are XORed with the time, little-endian.
func TestClientHelloIsSignedAsInTheWorkedExample(t *testing.T) {
	record := unsignedHello(t)
	mac := digest(&vectorKey, nil, record)
	if want := unhex(t, "acd82d6143dd2bb7717a39d002b0d79836418b8877f183cccd5c049bd4b0bc13"); !bytes.Equal(mac[:], want) {
		t.Errorf("HMAC is\n%x, want\n%x", mac, want)
	}
	signClientHello(record, vectorKey, vectorTime)
	want := unhex(t, "acd82d6143dd2bb7717a39d002b0d79836418b8877f183cccd5c049bd409e97a")
	if got := record[11:43]; !bytes.Equal(got, want) {
		t.Errorf("random on the wire is\n%x, want\n%x", got, want)
	}
}

func TestClientHelloMatchesItsKeyAndHasTheClientsTime(t *testing.T) {
	hello := mustParse(t, signedHello(t))
	if got, ok := hello.Match(vectorKey); !ok || !got.Equal(vectorTime) {
		t.Errorf("Match: %v, %v; want %v", got, ok, vectorTime)
	}
	if _, ok := hello.Match(otherKey); ok {
		t.Error("another key matches")
	}
	if i, got := hello.MatchAny([][16]byte{otherKey, {}, vectorKey}); i != 2 || !got.Equal(vectorTime) {
		t.Errorf("MatchAny: %d, %v; want 2, %v", i, got, vectorTime)
	}
	if i, _ := hello.MatchAny([][16]byte{otherKey}); i != -1 {
		t.Errorf("MatchAny without the key: %d, want -1", i)
	}
	if i, _ := hello.MatchAny(nil); i != -1 {
		t.Errorf("MatchAny of no keys: %d, want -1", i)
	}
	if _, ok := new(ClientHello).Match(vectorKey); ok {
		t.Error("a hello that was not parsed matches")
	}
}

// Match compares 28 bytes of the random. The HMAC covers every byte outside it.
func TestEveryByteOfAHelloIsAuthenticatedButTheClock(t *testing.T) {
	record := signedHello(t)
	for i := range record {
		record[i] ^= 1
		hello, _, err := ParseClientHello(record)
		if err == nil {
			_, ok := hello.Match(vectorKey)
			if clock := i >= 39 && i < 43; ok != clock {
				t.Errorf("byte %d changed: Match is %v", i, ok)
			}
		}
		record[i] ^= 1
	}
}

// A current hello spans two TCP segments. ParseClientHello returns ErrIncomplete up to
// its last byte, and never asks for a byte beyond it.
func TestHelloIsIncompleteUntilItsLastByte(t *testing.T) {
	whole := signedHello(t)
	for name, b := range map[string][]byte{
		"one record":   whole,
		"chrome":       chrome(t, "example.com"),
		"three pieces": fragment(whole, 1, 100),
		"ten pieces":   fragment(whole, 1, 1, 1, 1, 1, 1, 1, 1, 1),
	} {
		for i := range b {
			_, n, err := ParseClientHello(b[:i])
			if err != ErrIncomplete || n <= i || n > len(b) {
				t.Fatalf("%s, %d of %d bytes: n = %d, %v", name, i, len(b), n, err)
			}
		}
		mustParse(t, b)
		if _, n, err := ParseClientHello(append(b[:len(b):len(b)], changeCipherSpec...)); n != len(b) || err != nil {
			t.Errorf("%s with bytes behind: n = %d, %v; want %d", name, n, err, len(b))
		}
	}
}

// If a hello has several records, the HMAC covers one rebuilt header.
func TestFragmentedHelloMatches(t *testing.T) {
	whole := chrome(t, "example.com")
	signClientHello(whole, vectorKey, vectorTime)
	for at := 1; at < len(whole)-RecordHeaderLength; at++ {
		hello := mustParse(t, fragment(whole, at))
		if _, ok := hello.Match(vectorKey); !ok || hello.SNI != "example.com" {
			t.Fatalf("cut at %d: no match, or SNI %q", at, hello.SNI)
		}
	}
	if _, _, err := ParseClientHello(fragment(whole, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("11 records: %v, want ErrMalformed", err)
	}
}

// A valid init payload of package obfuscation may begin with 16 03 01: ParseClientHello
// returns ErrMalformed at the first byte that no hello has in its place.
func TestMalformedHelloIsKnownAtItsFirstWrongByte(t *testing.T) {
	for _, c := range []struct {
		name string
		at   int
		to   byte
	}{
		{"record type", 0, 0x17},
		{"major version", 1, 2},
		{"minor version", 2, 2},
		{"record longer than 16 KiB", 3, 0x41},
		{"record longer than 16 KiB by its low byte", 4, 1},
		{"handshake type", 5, 2},
		{"message longer than 64 KiB", 6, 1},
		{"message longer than 16 KiB", 7, 0x41},
		{"message shorter than its record", 8, 0xfb},
		{"message of one byte too few", 8, 72},
		{"client version, high", 9, 2},
		{"client version, low", 10, 1},
		{"session ID", 43, 0},
	} {
		b := signedHello(t)
		switch c.name {
		case "record longer than 16 KiB by its low byte":
			b[3] = 0x40
		case "message of one byte too few":
			b[7] = 0
		}
		b[c.at] = c.to
		if _, _, err := ParseClientHello(b[:c.at]); err != ErrIncomplete {
			t.Errorf("%s, before byte %d: %v, want ErrIncomplete", c.name, c.at, err)
		}
		if _, _, err := ParseClientHello(b[:c.at+1]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s, with byte %d: %v, want ErrMalformed", c.name, c.at, err)
		}
	}
	b := signedHello(t)
	b[3], b[4] = 0, 0
	if _, _, err := ParseClientHello(b[:5]); !errors.Is(err, ErrMalformed) {
		t.Errorf("empty record: %v, want ErrMalformed", err)
	}
}

func TestInitPayloadThatBeginsLikeAHelloIsMalformed(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for range 10_000 {
		payload := make([]byte, 64)
		random.Read(payload)
		copy(payload, "\x16\x03\x01")
		if _, _, err := ParseClientHello(payload); !errors.Is(err, ErrMalformed) {
			t.Fatalf("% x: %v, want ErrMalformed", payload, err)
		}
	}
}

// Clients send hellos of 517 bytes, of 1698 to 1817 bytes and longer ones, with either
// version in the record header.
func TestHelloOfAnySizeMatches(t *testing.T) {
	for _, size := range []int{minHello, 100, 512, 1698, 1817, 4097, maxPlaintext} {
		for _, minor := range []byte{1, 3} {
			record := make([]byte, RecordHeaderLength+size)
			copy(record, unsignedHello(t)[:sessionEnd])
			record[2] = minor
			binary.BigEndian.PutUint16(record[3:], uint16(size))
			binary.BigEndian.PutUint16(record[7:], uint16(size-handshakeHeaderLength))
			signClientHello(record, vectorKey, vectorTime)
			hello := mustParse(t, record)
			if _, ok := hello.Match(vectorKey); !ok {
				t.Errorf("hello of %d bytes, version 03 %02x: no match", size, minor)
			}
		}
	}
}

// The extensions may have any order, GREASE or none, and no server name.
func TestExtensionsAreParsedInAnyOrder(t *testing.T) {
	sni := extension(extensionServerName, appendServerName(nil, "example.org"))
	grease := extension(0x0a0a, nil)
	mlkem := extension(extensionKeyShare, keyShares(groupX25519MLKEM768, clientShareMLKEM))
	classic := extension(extensionKeyShare, keyShares(groupX25519, x25519Share))
	other := extension(0x1234, []byte("whatever"))
	for i, c := range []struct {
		extensions [][]byte
		sni        string
		mlkem      bool
	}{
		{[][]byte{grease, sni, other, mlkem, grease}, "example.org", true},
		{[][]byte{mlkem, other, sni}, "example.org", true},
		{[][]byte{classic, grease, sni}, "example.org", false},
		{[][]byte{grease, mlkem}, "", true},
		{[][]byte{extension(extensionKeyShare, keyShares(groupX25519MLKEM768, 32))}, "", false},
		{[][]byte{extension(extensionServerName, nil), classic}, "", false},
		{[][]byte{extension(extensionServerName, []byte{0, 9, 0, 0, 9, 'x'}), classic}, "", false},
		{nil, "", false},
	} {
		hello := mustParse(t, buildHello(t, c.extensions...))
		if hello.SNI != c.sni || hello.MLKEM != c.mlkem || hello.CipherSuite != 0x1302 {
			t.Errorf("case %d: SNI %q, MLKEM %v, cipher suite %04x; want %q, %v, 1302", i, hello.SNI, hello.MLKEM, hello.CipherSuite, c.sni, c.mlkem)
		}
		if _, ok := hello.Match(vectorKey); !ok {
			t.Errorf("case %d: no match", i)
		}
	}
}

// Bytes after the session ID are authenticated and need not be well formed.
func TestHelloWithMalformedExtensionsMatches(t *testing.T) {
	record := unsignedHello(t)
	rand.NewChaCha8([32]byte{2}).Read(record[sessionEnd:])
	signClientHello(record, vectorKey, vectorTime)
	hello := mustParse(t, record)
	if _, ok := hello.Match(vectorKey); !ok {
		t.Error("no match")
	}
}

// Match does not allocate, and MatchAny has memory of its own, however many keys there are.
// The race detector makes sync.Pool drop a part of that at random.
func TestMatchingDoesNotAllocate(t *testing.T) {
	hello := mustParse(t, signedHello(t))
	keys := make([][16]byte, 640)
	for _, n := range []int{1, 2, 16, len(keys)} {
		if got := testing.AllocsPerRun(100, func() { hello.MatchAny(keys[:n]) }); got > 1 {
			t.Errorf("%v allocations for %d keys", got, n)
		}
	}
	if got := testing.AllocsPerRun(20, func() { hello.Match(vectorKey) }); got != 0 {
		t.Errorf("%v allocations for the key, want none", got)
	}
}

// MatchAny finds the key at any index, and the first of equal keys.
func TestMatchAnyFindsTheFirstMatchingKey(t *testing.T) {
	hello := mustParse(t, signedHello(t))
	keys := make([][16]byte, 40)
	for i := range keys {
		keys[i] = [16]byte{0xff, byte(i)}
	}
	for n := 1; n <= len(keys); n++ {
		for i := range n {
			other := keys[i]
			keys[i] = vectorKey
			if got, clock := hello.MatchAny(keys[:n]); got != i || !clock.Equal(vectorTime) {
				t.Fatalf("%d keys: %d, %v; want %d, %v", n, got, clock, i, vectorTime)
			}
			keys[i] = other
		}
	}
	keys[20], keys[21], keys[39] = vectorKey, vectorKey, vectorKey
	if got, _ := hello.MatchAny(keys); got != 20 {
		t.Errorf("key at 20, 21 and 39: %d", got)
	}
}

// BenchmarkMatchAny10000Keys measures an unauthenticated client: a hello of 1817 bytes
// that matches none of 10,000 keys. It must take at most 15 ms.
func BenchmarkMatchAny10000Keys(b *testing.B) {
	message := unsignedHello(b)
	message = append(message, make([]byte, 1817-len(message))...)
	binary.BigEndian.PutUint16(message[3:], uint16(len(message)-RecordHeaderLength))
	binary.BigEndian.PutUint16(message[7:], uint16(len(message)-RecordHeaderLength-handshakeHeaderLength))
	hello := mustParse(b, message)
	keys := make([][16]byte, 10000)
	for i := range keys {
		keys[i] = [16]byte{byte(i), byte(i >> 8)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if i, _ := hello.MatchAny(keys); i >= 0 {
			b.Fatal("matched")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(keys)), "ns/key")
}

func chrome(t testing.TB, domain string) []byte {
	t.Helper()
	b, err := chromeHello(domain, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The secret's domain is sent as it is, also if a browser would omit it.
func TestChromeHelloHasItsDomainAsSNI(t *testing.T) {
	for _, domain := range []string{"example.com", "192.0.2.1", "EXAMPLE.com.", fmt.Sprintf("%0253d", 1)} {
		b := chrome(t, domain)
		hello := mustParse(t, b)
		if hello.SNI != domain {
			t.Errorf("SNI is %q, want %q", hello.SNI, domain)
		}
		if hello.CipherSuite != 0x1301 || !hello.MLKEM || len(b) < 1600 {
			t.Errorf("cipher suite %04x, MLKEM %v, %d bytes: not a current Chrome's", hello.CipherSuite, hello.MLKEM, len(b))
		}
	}
}

// A domain is required, and ClientConfig.Hello must return one well-formed record. On an
// error dst is returned unchanged.
func TestClientHelloNeedsADomainAndAWellFormedHello(t *testing.T) {
	hook := func(b []byte, err error) *ClientConfig {
		return &ClientConfig{Domain: "example.com", Hello: func(string) ([]byte, error) { return b, err }}
	}
	refused := errors.New("refused")
	for name, config := range map[string]*ClientConfig{
		"nil config":    nil,
		"no domain":     {},
		"long domain":   {Domain: fmt.Sprintf("%0254d", 1)},
		"empty hello":   hook(nil, nil),
		"two records":   hook(fragment(signedHello(t), 9), nil),
		"bytes behind":  hook(append(signedHello(t), 0), nil),
		"not a hello":   hook([]byte("GET / HTTP/1.1\r\n"), nil),
		"failing hook":  hook(nil, refused),
		"cut off hello": hook(signedHello(t)[:500], nil),
	} {
		b, err := AppendClientHello([]byte("before"), config)
		if err == nil || string(b) != "before" {
			t.Errorf("%s: %q, %v; want what was there before, and an error", name, b, err)
		}
	}
	if _, err := AppendClientHello(nil, hook(nil, refused)); !errors.Is(err, refused) {
		t.Errorf("error of Hello became %v", err)
	}
	config := hook(unsignedHello(t), nil)
	config.Key, config.Time = vectorKey, vectorClock
	b, err := AppendClientHello(nil, config)
	if err != nil || !bytes.Equal(b, signedHello(t)) {
		t.Errorf("hello of Hello is not signed as in the worked example: %v", err)
	}
}
