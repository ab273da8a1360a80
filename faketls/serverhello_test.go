package faketls

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

const vectorDigest = "41a517116e2fa6cd19d048bc93234203fe6da7a6180a565cbe30b58d78aa9d50"

// vectorFlight returns the worked example's answer to signedHello.
func vectorFlight(t testing.TB) []byte {
	return unhex(t, "160303007a 02000076 0303"+vectorDigest+
		"20"+strings.Repeat("11", 32)+
		"1301 00 002e 00330024001d0020"+strings.Repeat("22", 32)+"002b00020304"+
		"140303000101"+
		"1703030040"+strings.Repeat("33", 64))
}

// The digest is the HMAC-SHA256 of the client's random and the whole flight with zeros
// in bytes 11..43.
func TestServerHelloIsSignedAsInTheWorkedExample(t *testing.T) {
	hello := mustParse(t, signedHello(t))
	flight := vectorFlight(t)
	if len(flight) != 202 {
		t.Fatalf("flight has %d bytes, want 202", len(flight))
	}
	if n, err := VerifyServerHello(flight, vectorKey, hello.Random); n != 202 || err != nil {
		t.Errorf("VerifyServerHello: n = %d, %v; want 202", n, err)
	}
	signServerHello(flight, hello.Random, vectorKey)
	if !bytes.Equal(flight, vectorFlight(t)) {
		t.Errorf("digest is %x, want %s", flight[11:43], vectorDigest)
	}
}

func TestServerHelloHasTheLayoutOfTheWorkedExample(t *testing.T) {
	hello := mustParse(t, signedHello(t))
	flight, err := AppendServerHello([]byte("before"), &hello, vectorKey, ServerHelloShape{DataSize: 64}, fixed(0x33))
	if err != nil || string(flight[:6]) != "before" {
		t.Fatalf("AppendServerHello: %q, %v", flight[:6], err)
	}
	flight = flight[6:]
	if _, err := VerifyServerHello(flight, vectorKey, hello.Random); err != nil {
		t.Error(err)
	}
	want := vectorFlight(t)
	const share = 89
	copy(want[11:43], flight[11:43])
	copy(want[share:share+32], flight[share:share+32])
	if !bytes.Equal(flight, want) {
		t.Errorf("flight is\n%x, want\n%x", flight, want)
	}
}

// The key share is X25519MLKEM768's (11ec, 1088+32 bytes) if the client sends one, and
// the suite is the client's first of TLS 1.3.
func TestServerHelloFollowsTheClientsOffer(t *testing.T) {
	mlkem := extension(extensionKeyShare, keyShares(groupX25519MLKEM768, clientShareMLKEM))
	hello := mustParse(t, buildHello(t, mlkem))
	flight, err := AppendServerHello(nil, &hello, vectorKey, ServerHelloShape{DataSize: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := VerifyServerHello(flight, vectorKey, hello.Random); n != len(flight) || err != nil {
		t.Errorf("VerifyServerHello: n = %d, %v; want %d", n, err, len(flight))
	}
	want := unhex(t, "1302 00 046e 0033 0464 11ec 0460")
	if got := flight[76 : 76+len(want)]; !bytes.Equal(got, want) {
		t.Errorf("from byte 76: %x, want %x", got, want)
	}
	if !bytes.Equal(flight[44:76], hello.SessionID[:]) {
		t.Error("session ID is not echoed")
	}
}

// A ServerHelloShape is followed as far as the client offers its suite and key share.
func TestServerHelloHasTheShapeThatTheClientSupports(t *testing.T) {
	const (
		versions = "002b00020304"
		classic  = "00330024 001d0020"
		hybrid   = "00330464 11ec0460"
	)
	modern := ClientHello{CipherSuite: 0x1301, MLKEM: true, suites: 1<<1 | 1<<2 | 1<<3}
	old := ClientHello{CipherSuite: 0x1303, suites: 1 << 3}
	for _, c := range []struct {
		hello *ClientHello
		shape ServerHelloShape
		want  string // from byte 76 up to the key
		last  string // the end of the record, if the key is not that
	}{
		{&modern, ServerHelloShape{}, "1301 00 046e" + hybrid, versions},
		{&modern, ServerHelloShape{CipherSuite: 0x1302}, "1302 00 046e" + hybrid, versions},
		{&modern, ServerHelloShape{CipherSuite: 0x1304}, "1301 00 046e" + hybrid, versions},
		{&modern, ServerHelloShape{CipherSuite: 0x1300}, "1301 00 046e" + hybrid, versions},
		{&modern, ServerHelloShape{CipherSuite: 0xc02f}, "1301 00 046e" + hybrid, versions},
		{&modern, ServerHelloShape{Group: 0x001d}, "1301 00 002e" + classic, versions},
		{&modern, ServerHelloShape{VersionsFirst: true}, "1301 00 046e" + versions + hybrid, ""},
		{&modern, ServerHelloShape{CipherSuite: 0x1303, Group: 0x001d, VersionsFirst: true}, "1303 00 002e" + versions + classic, ""},
		{&old, ServerHelloShape{CipherSuite: 0x1302}, "1303 00 002e" + classic, versions},
		{&ClientHello{}, ServerHelloShape{CipherSuite: 0x1302}, "1301 00 002e" + classic, versions},
	} {
		flight, err := AppendServerHello(nil, c.hello, vectorKey, c.shape, nil)
		if err != nil {
			t.Fatal(err)
		}
		record := flight[:RecordHeaderLength+int(binary.BigEndian.Uint16(flight[3:]))]
		if !bytes.HasPrefix(record[76:], unhex(t, c.want)) || !bytes.HasSuffix(record, unhex(t, c.last)) {
			t.Errorf("%+v: %x, want %s and %s at the end", c.shape, record[76:], c.want, c.last)
		}
		if n, err := VerifyServerHello(flight, vectorKey, c.hello.Random); n != len(flight) || err != nil {
			t.Errorf("%+v: %d, %v", c.shape, n, err)
		}
	}
}

func TestServerHelloDataSizes(t *testing.T) {
	hello := mustParse(t, signedHello(t))
	dataSize := func(flight []byte) int { return len(flight) - 127 - 6 - RecordHeaderLength }
	seen := map[int]bool{}
	for range 50 {
		flight, err := AppendServerHello(nil, &hello, vectorKey, ServerHelloShape{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := dataSize(flight)
		if seen[n] = true; n < 2048 || n > 4096 {
			t.Fatalf("default size %d, want 2048 to 4096", n)
		}
	}
	if len(seen) < 10 {
		t.Errorf("%d sizes in 50 flights", len(seen))
	}
	for _, n := range []int{1, 16640} {
		if flight, err := AppendServerHello(nil, &hello, vectorKey, ServerHelloShape{DataSize: n}, nil); err != nil || dataSize(flight) != n {
			t.Errorf("size %d: got %d, %v", n, dataSize(flight), err)
		}
	}
	for _, n := range []int{-1, 16641} {
		if _, err := AppendServerHello(nil, &hello, vectorKey, ServerHelloShape{DataSize: n}, nil); err == nil {
			t.Errorf("size %d: no error", n)
		}
	}
	for n := range 4 {
		short := bytes.NewReader(make([]byte, n*20))
		if b, err := AppendServerHello([]byte("x"), &hello, vectorKey, ServerHelloShape{}, short); err == nil || string(b) != "x" {
			t.Errorf("source of %d random bytes: %d bytes, %v; want what was there, and an error", n*20, len(b), err)
		}
	}
}

func TestFlightIsIncompleteUntilItsLastByte(t *testing.T) {
	hello := mustParse(t, signedHello(t))
	flight := vectorFlight(t)
	for i := range flight {
		n, err := VerifyServerHello(flight[:i], vectorKey, hello.Random)
		if err != ErrIncomplete || n <= i || n > len(flight) {
			t.Fatalf("%d bytes: n = %d, %v", i, n, err)
		}
	}
	n, err := VerifyServerHello(append(flight, "more"...), vectorKey, hello.Random)
	if n != len(flight) || err != nil {
		t.Errorf("with bytes behind: n = %d, %v; want %d", n, err, len(flight))
	}
}

func TestEveryByteOfAFlightIsAuthenticated(t *testing.T) {
	hello := mustParse(t, signedHello(t))
	flight := vectorFlight(t)
	for i := range flight {
		flight[i] ^= 1
		if n, err := VerifyServerHello(flight, vectorKey, hello.Random); err == nil {
			t.Errorf("byte %d changed: n = %d, no error", i, n)
		}
		flight[i] ^= 1
	}
	if _, err := VerifyServerHello(flight, otherKey, hello.Random); err != ErrNoMatch {
		t.Errorf("another key: %v, want ErrNoMatch", err)
	}
	if _, err := VerifyServerHello(flight, vectorKey, [32]byte{}); err != ErrNoMatch {
		t.Errorf("another random: %v, want ErrNoMatch", err)
	}
}

func record(kind RecordType, n int) []byte {
	b := binary.BigEndian.AppendUint16([]byte{byte(kind), 3, 3}, uint16(n))
	return append(b, make([]byte, n)...)
}

// Several handshake records may precede the ChangeCipherSpec. Any other record out of
// place is a *RecordError as soon as its header has arrived.
func TestFlightHasItsRecordsInOrder(t *testing.T) {
	first, ccs := record(RecordHandshake, 90), []byte(changeCipherSpec)
	more := bytes.Repeat(record(RecordHandshake, 10), 15)
	for name, c := range map[string]struct {
		flight []byte
		ok     bool
	}{
		"plain":                {join(first, ccs, record(RecordApplicationData, 30)), true},
		"16 handshake records": {join(first, more, ccs, record(RecordApplicationData, 0)), true},
		"17 handshake records": {join(first, more, record(RecordHandshake, 1)[:5]), false},
		"alert":                {unhex(t, "1503030002"), false},
		"alert later":          {join(first, unhex(t, "1503030002")), false},
		"no ServerHello":       {ccs[:5], false},
		"no ChangeCipherSpec":  {join(first, record(RecordApplicationData, 30)[:5]), false},
		"two of them":          {join(first, ccs, ccs[:5]), false},
		"long one":             {join(first, record(RecordChangeCipherSpec, 2)[:5]), false},
		"handshake after it":   {join(first, ccs, first[:5]), false},
		"no room for random":   {record(RecordHandshake, 37)[:5], false},
		"huge handshake":       {record(RecordHandshake, 16385)[:5], false},
		"old version":          {[]byte{0x16, 3, 1, 0, 90}, false},
		"a web page":           {[]byte("HTTP/1.1 400"), false},
	} {
		if c.ok {
			signServerHello(c.flight, [32]byte{}, vectorKey)
		}
		n, err := VerifyServerHello(c.flight, vectorKey, [32]byte{})
		if c.ok {
			if n != len(c.flight) || err != nil {
				t.Errorf("%s: n = %d, %v; want %d", name, n, err, len(c.flight))
			}
			continue
		}
		var evidence *RecordError
		if !errors.As(err, &evidence) || !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want a *RecordError", name, err)
		}
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// BenchmarkAppendServerHello measures the answer to the hello of a current client.
func BenchmarkAppendServerHello(b *testing.B) {
	hello := mustParse(b, chrome(b, "example.com"))
	var buf [8 << 10]byte
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AppendServerHello(buf[:0], &hello, vectorKey, ServerHelloShape{DataSize: 3000}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
