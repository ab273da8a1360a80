package faketls

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// "HMAC-SHA256(key, whole record with bytes 11..43 zero); the last four bytes
// XORed with the time, little-endian."
func TestClientHelloIsSignedAsInTheWorkedExample(t *testing.T) {
	record := unsignedHello(t)
	sum := digest(&vectorKey, nil, record)
	if want := unhex(t, "acd82d6143dd2bb7717a39d002b0d79836418b8877f183cccd5c049bd4b0bc13"); !bytes.Equal(sum[:], want) {
		t.Errorf("HMAC is\n%x, want\n%x", sum, want)
	}
	signClientHello(record, vectorKey, vectorTime)
	want := unhex(t, "acd82d6143dd2bb7717a39d002b0d79836418b8877f183cccd5c049bd409e97a")
	if got := record[11:43]; !bytes.Equal(got, want) {
		t.Errorf("random on the wire is\n%x, want\n%x", got, want)
	}
}

func TestClientHelloMatchesItsKeyAndTellsTheClock(t *testing.T) {
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
		t.Error("a hello that was never parsed matches")
	}
}

// "Compare 28 bytes": each of them counts, and every other byte of the record
// is under the HMAC.
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

// A hello of 2025 spans two TCP segments, and nothing may be decided before
// all of it is there, nor a byte asked for that is not part of it.
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

// "The HMAC covers one rebuilt header if the hello came in several records."
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

// A legal init payload may begin with 16 03 01: the byte that rules a hello
// out has to be enough to say so.
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
		{"session id", 43, 0},
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
		init := make([]byte, 64)
		random.Read(init)
		copy(init, "\x16\x03\x01")
		if _, _, err := ParseClientHello(init); !errors.Is(err, ErrMalformed) {
			t.Fatalf("% x: %v, want ErrMalformed", init, err)
		}
	}
}

// Records of 517 bytes, of 1698 to 1817 bytes and beyond are in use; both
// versions of the record are.
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

// "Do not expect a length, an order, a GREASE first cipher, or SNI."
func TestOfferIsReadInAnyOrder(t *testing.T) {
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

// What follows the session id is nobody's business once the HMAC is right.
func TestHelloWithGarbageForAnOfferStillMatches(t *testing.T) {
	record := unsignedHello(t)
	rand.NewChaCha8([32]byte{2}).Read(record[sessionEnd:])
	signClientHello(record, vectorKey, vectorTime)
	hello := mustParse(t, record)
	if _, ok := hello.Match(vectorKey); !ok {
		t.Error("no match")
	}
}

// "Memory does not depend on their number."
func TestManyKeysCostTheMemoryOfFew(t *testing.T) {
	hello := mustParse(t, signedHello(t))
	keys := make([][16]byte, 640)
	for _, n := range []int{1, 16, len(keys)} {
		if got := testing.AllocsPerRun(20, func() { hello.MatchAny(keys[:n]) }); got > 2 {
			t.Errorf("%v allocations for %d keys, want at most 2", got, n)
		}
	}
	if got := testing.AllocsPerRun(20, func() { hello.Match(vectorKey) }); got != 0 {
		t.Errorf("%v allocations for the key, want none", got)
	}
}

// Wherever the key is among the others, and when it is there twice, the first
// place is the one.
func TestFirstOfManyKeysIsFound(t *testing.T) {
	hello := mustParse(t, signedHello(t))
	keys := make([][16]byte, 40)
	for i := range keys {
		keys[i] = [16]byte{0xff, byte(i)}
	}
	for n := 1; n <= len(keys); n++ {
		for i := range n {
			good := keys[i]
			keys[i] = vectorKey
			if got, clock := hello.MatchAny(keys[:n]); got != i || !clock.Equal(vectorTime) {
				t.Fatalf("%d keys: %d, %v; want %d, %v", n, got, clock, i, vectorTime)
			}
			keys[i] = good
		}
	}
	keys[20], keys[21], keys[39] = vectorKey, vectorKey, vectorKey
	if got, _ := hello.MatchAny(keys); got != 20 {
		t.Errorf("key at 20, 21 and 39: %d", got)
	}
}

// "With 10,000 users a first contact costs at most 15 ms." A stranger's hello
// matches none of them.
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

// The domain of the secret goes into SNI as it is, be it a name that a
// browser would leave out.
func TestChromeHelloNamesItsDomain(t *testing.T) {
	for _, domain := range []string{"example.com", "192.0.2.1", "EXAMPLE.com.", fmt.Sprintf("%0253d", 1)} {
		b := chrome(t, domain)
		hello := mustParse(t, b)
		if hello.SNI != domain {
			t.Errorf("SNI is %q, want %q", hello.SNI, domain)
		}
		if hello.CipherSuite != 0x1301 || !hello.MLKEM || len(b) < 1600 {
			t.Errorf("cipher suite %04x, MLKEM %v, %d bytes: not the Chrome of this day", hello.CipherSuite, hello.MLKEM, len(b))
		}
	}
}

func TestClientHelloNeedsADomainAndASoundHook(t *testing.T) {
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
		t.Errorf("error of the hook became %v", err)
	}
	config := hook(unsignedHello(t), nil)
	config.Key, config.Time = vectorKey, vectorClock
	b, err := AppendClientHello(nil, config)
	if err != nil || !bytes.Equal(b, signedHello(t)) {
		t.Errorf("hello of the hook was not signed as the worked example: %v", err)
	}
}
