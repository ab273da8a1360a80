package faketls

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/mtwire/mtwire/frame"
)

// FuzzClientHello checks for any bytes that the result does not depend on bytes behind
// the hello, that a malformed hello stays malformed, that an incomplete one needs more
// bytes than there are, and that a well-formed one can be renewed, and signed to match.
func FuzzClientHello(f *testing.F) {
	chromeHello := chrome(f, "example.com")
	signClientHello(chromeHello, vectorKey, vectorTime)
	for _, b := range [][]byte{signedHello(f), chromeHello, fragment(chromeHello, 1, 5, 900), buildHello(f), unhex(f, "160301")} {
		f.Add(b, uint16(100))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		hello, n, err := ParseClientHello(b)
		switch {
		case err == ErrIncomplete && (n <= len(b) || n > len(b)+RecordHeaderLength+maxPlaintext):
			t.Fatalf("incomplete, has %d bytes, needs %d", len(b), n)
		case err == nil && (n < RecordHeaderLength+minHello || n > len(b)):
			t.Fatalf("n = %d of %d", n, len(b))
		case err != nil && err != ErrIncomplete && !errors.Is(err, ErrMalformed):
			t.Fatal(err)
		}
		prefix := b[:min(int(cut), len(b))]
		_, m, early := ParseClientHello(prefix)
		switch {
		case errors.Is(early, ErrMalformed) && !errors.Is(err, ErrMalformed):
			t.Fatalf("malformed after %d bytes, %v after %d", len(prefix), err, len(b))
		case early == nil && (err != nil || m != n):
			t.Fatalf("n = %d after %d bytes, %d, %v after %d", m, len(prefix), n, err, len(b))
		case early == ErrIncomplete && err == nil && m > n:
			t.Fatalf("needs %d bytes of a hello that has %d", m, n)
		}
		if err != nil {
			return
		}
		if renewed, err := hello.Renew("renewed.example"); err == nil {
			again, n, err := ParseClientHello(renewed)
			if err != nil || n != len(renewed) || again.Kind() != hello.Kind() || again.groups != hello.groups || hello.SNI != "" && again.SNI != "renewed.example" {
				t.Fatalf("renewed hello: n = %d of %d, %v, %+v", n, len(renewed), err, again)
			}
		}
		record := bytes.Clone(hello.record)
		signClientHello(record, vectorKey, vectorTime)
		again, n, err := ParseClientHello(record)
		if err != nil || n != len(record) || again.SNI != hello.SNI || again.MLKEM != hello.MLKEM || again.CipherSuite != hello.CipherSuite {
			t.Fatalf("signed hello: n = %d, %v, %+v", n, err, again)
		}
		if got, ok := again.Match(vectorKey); !ok || !got.Equal(vectorTime) {
			t.Fatalf("signed hello: Match is %v, %v", got, ok)
		}
		flight, err := AppendServerHello(nil, &again, vectorKey, ServerHelloShape{DataSize: 1}, fixed(1))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := VerifyServerHello(flight, vectorKey, again.Random); n != len(flight) || err != nil {
			t.Fatalf("own flight: n = %d of %d, %v", n, len(flight), err)
		}
	})
}

// FuzzServerHello checks a server's flight as FuzzClientHello does a hello. A
// well-formed flight with a wrong digest is valid once it is signed.
func FuzzServerHello(f *testing.F) {
	hello := mustParse(f, signedHello(f))
	f.Add(vectorFlight(f), uint16(100))
	flight, err := AppendServerHello(nil, &ClientHello{MLKEM: true}, vectorKey, ServerHelloShape{}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(flight, uint16(1))
	f.Add(join(record(RecordHandshake, 50), flight), uint16(60))
	f.Add(unhex(f, "15030300020228"), uint16(5))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		n, err := VerifyServerHello(b, vectorKey, hello.Random)
		switch {
		case err == ErrIncomplete && (n <= len(b) || n > len(b)+RecordHeaderLength+maxBody):
			t.Fatalf("incomplete, has %d bytes, needs %d", len(b), n)
		case err == nil && n > len(b):
			t.Fatalf("n = %d of %d", n, len(b))
		case err != nil && err != ErrIncomplete && err != ErrNoMatch && !errors.Is(err, ErrMalformed):
			t.Fatal(err)
		}
		prefix := b[:min(int(cut), len(b))]
		if _, early := VerifyServerHello(prefix, vectorKey, hello.Random); early != ErrIncomplete && !sameKind(early, err) {
			t.Fatalf("%v after %d bytes, %v after %d", early, len(prefix), err, len(b))
		}
		if err != ErrNoMatch {
			return
		}
		end := len(b)
		for i := range b { // b may have bytes behind the flight
			if _, err := VerifyServerHello(b[:i], vectorKey, hello.Random); err == ErrNoMatch {
				end = i
				break
			}
		}
		flight := bytes.Clone(b[:end])
		signServerHello(flight, hello.Random, vectorKey)
		if n, err := VerifyServerHello(flight, vectorKey, hello.Random); n != end || err != nil {
			t.Fatalf("signed flight: n = %d of %d, %v", n, end, err)
		}
	})
}

func sameKind(a, b error) bool {
	return a == b || errors.Is(a, ErrMalformed) && errors.Is(b, ErrMalformed)
}

// chunks reads stream in pieces of sizes[i]+1 bytes, and then the rest at once.
type chunks struct {
	stream, sizes []byte
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.stream) == 0 {
		return 0, io.EOF
	}
	n := len(c.stream)
	if len(c.sizes) > 0 {
		n, c.sizes = 1+int(c.sizes[0]), c.sizes[1:]
	}
	n = copy(p, c.stream[:min(n, len(c.stream))])
	c.stream = c.stream[n:]
	return n, nil
}

// FuzzRecords checks that the stream's bytes and its end depend neither on the pieces
// in which the records arrive nor on the buffer of Read.
func FuzzRecords(f *testing.F) {
	f.Add(appendRecords([]byte(changeCipherSpec), make([]byte, 300), 100), []byte{0, 1, 2, 50}, uint16(10), false)
	f.Add(join(record(RecordApplicationData, 0), record(RecordChangeCipherSpec, 1), unhex(f, "1503030002022a")), []byte{3}, uint16(100), true)
	f.Add(record(RecordApplicationData, 17_000), []byte{200, 0}, uint16(4096), true)
	f.Fuzz(func(t *testing.T, stream, sizes []byte, buffer uint16, fromServer bool) {
		reader := frame.Server
		from := frame.Client
		if fromServer {
			reader, from = frame.Client, frame.Server
		}
		d := Deframer{From: from}
		want := bytes.Clone(stream)
		n, wantErr := d.Deframe(want)
		want = want[:n]
		if wantErr == nil {
			wantErr = io.EOF
			if !d.Complete() {
				wantErr = io.ErrUnexpectedEOF
			}
		}

		conn := NewConn(streamConn{Reader: &chunks{bytes.Clone(stream), sizes}}, reader)
		p := make([]byte, 1+int(buffer))
		var got []byte
		for {
			n, err := conn.Read(p)
			got = append(got, p[:n]...)
			if err != nil {
				if err.Error() != wantErr.Error() {
					t.Errorf("stream ends with %v, want %v", err, wantErr)
				}
				break
			}
			if n == 0 {
				t.Fatal("Read returned nothing and no error")
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes read, want %d, or they differ", len(got), len(want))
		}
	})
}
