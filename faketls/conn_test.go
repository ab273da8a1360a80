package faketls

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/netx"
)

// conns returns a connected pair past the handshake.
func conns(t testing.TB) (client, server *Conn) {
	a, b := tcpPair(t)
	return NewConn(a, frame.Client), NewConn(b, frame.Server)
}

// counted keeps the Writes that reach the connection below.
type counted struct {
	net.Conn
	writes [][]byte
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes = append(c.writes, bytes.Clone(p))
	return len(p), nil
}

// A client's first Write is a ChangeCipherSpec and its first record, in one Write below.
func TestClientStartsWithChangeCipherSpecInTheSameWrite(t *testing.T) {
	below := &counted{}
	client := NewConn(below, frame.Client)
	for _, s := range []string{"first", "second"} {
		if n, err := client.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if n, err := client.Write(nil); n != 0 || err != nil {
		t.Errorf("empty Write: %d, %v", n, err)
	}
	want := []string{"\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x05first", "\x17\x03\x03\x00\x06second"}
	if len(below.writes) != 2 || string(below.writes[0]) != want[0] || string(below.writes[1]) != want[1] {
		t.Errorf("writes below: %q, want %q", below.writes, want)
	}
}

// A client's records have at most 2878 bytes, a server's 17 to 16401. One Write below has
// several records.
func TestWriteSendsRecordsInOneWriteBelow(t *testing.T) {
	for _, c := range []struct {
		side         frame.Side
		least, limit int
	}{{frame.Client, 1, 2878}, {frame.Server, 17, 16401}} {
		for _, size := range []int{c.least, c.limit, c.limit + 1, c.limit + 16, 1 << 16, 1<<16 + 1, 1<<16 + 16, 200_000} {
			below := &counted{}
			p := make([]byte, size)
			rand.NewChaCha8([32]byte{}).Read(p)
			before := bytes.Clone(p)
			if n, err := NewConn(below, c.side).Write(p); n != size || err != nil {
				t.Fatal(n, err)
			}
			if !bytes.Equal(p, before) {
				t.Error("Write changed the caller's buffer")
			}
			if want := (size + 1<<16 - 1) >> 16; len(below.writes) != want {
				t.Errorf("%v, %d bytes: %d writes below, want %d", c.side, size, len(below.writes), want)
			}
			stream := join(below.writes...)
			for rest := bytes.TrimPrefix(stream, []byte(changeCipherSpec)); len(rest) > 0; {
				_, n, err := ParseRecordHeader(rest, c.side)
				if err != nil || n < c.least || n > c.limit {
					t.Fatalf("%v: record of %d bytes, %v", c.side, n, err)
				}
				rest = rest[RecordHeaderLength+n:]
			}
			d := Deframer{From: c.side}
			if n, err := d.Deframe(stream); err != nil || !bytes.Equal(stream[:n], p) {
				t.Errorf("%v, %d bytes: stream differs, %v", c.side, size, err)
			}
		}
	}
}

// streamConn is a connection that reads from a Reader.
type streamConn struct {
	net.Conn
	io.Reader
}

func (c streamConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func TestReadIgnoresRecordBoundariesAtEveryBufferSize(t *testing.T) {
	want := make([]byte, 300)
	rand.NewChaCha8([32]byte{}).Read(want)
	stream := join([]byte(changeCipherSpec), appendRecords(nil, want[:100], 7), record(RecordApplicationData, 0),
		[]byte(changeCipherSpec), appendRecords(nil, want[100:], 90))
	for size := 1; size <= len(stream); size++ {
		for name, src := range map[string]io.Reader{
			"whole":         bytes.NewReader(stream),
			"byte by byte":  iotest.OneByteReader(bytes.NewReader(stream)),
			"end with data": iotest.DataErrReader(bytes.NewReader(stream)),
			"timeouts":      &timeoutReader{src: iotest.HalfReader(bytes.NewReader(stream))},
		} {
			server := NewConn(streamConn{Reader: src}, frame.Server)
			var got []byte
			p := make([]byte, size)
			for {
				n, err := server.Read(p)
				got = append(got, p[:n]...)
				if err == io.EOF {
					break
				} else if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s, buffer of %d bytes: stream differs", name, size)
			}
		}
	}
}

// timeoutReader times out before each Read of src.
type timeoutReader struct {
	src   io.Reader
	ready bool
}

func (r *timeoutReader) Read(p []byte) (int, error) {
	if r.ready = !r.ready; r.ready {
		return 0, os.ErrDeadlineExceeded
	}
	return r.src.Read(p)
}

// A part of a header is kept when Read times out.
func TestReadContinuesAfterATimeoutInsideAHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		server := NewConn(b, frame.Server)
		defer server.Close()
		stream := appendRecords(nil, []byte("abcdef"), 3)
		for _, size := range []int{16, 4096} {
			got := ""
			p := make([]byte, size)
			for _, c := range stream {
				go a.Write([]byte{c})
				server.SetReadDeadline(time.Now().Add(time.Second))
				for {
					n, err := server.Read(p)
					got += string(p[:n])
					if errors.Is(err, os.ErrDeadlineExceeded) {
						break
					} else if err != nil {
						t.Fatal(err)
					}
				}
			}
			if got != "abcdef" {
				t.Errorf("buffer of %d: %q", size, got)
			}
		}
	})
}

func TestEndOfInputInsideARecordIsUnexpected(t *testing.T) {
	stream := append(appendRecords(nil, []byte("abc"), 16640), changeCipherSpec...)
	for end := range len(stream) + 1 {
		for _, size := range []int{8, 100} {
			server := NewConn(streamConn{Reader: bytes.NewReader(stream[:end])}, frame.Server)
			want := io.ErrUnexpectedEOF
			if end == 0 || end == 8 || end == len(stream) {
				want = io.EOF
			}
			p := make([]byte, size)
			var err error
			for err == nil {
				_, err = server.Read(p)
			}
			if err != want {
				t.Errorf("end after %d bytes: %v, want %v", end, err, want)
			}
			if _, again := server.Read(p); again != want {
				t.Errorf("end after %d bytes, second time: %v, want %v", end, again, want)
			}
		}
	}
}

func TestReadReturnsTheBytesBeforeAnAlertAndThenItsHeader(t *testing.T) {
	stream := join(appendRecords(nil, []byte("abc"), 16640), unhex(t, "15030300020100"))
	client := NewConn(streamConn{Reader: bytes.NewReader(stream)}, frame.Client)
	p := make([]byte, 100)
	if n, err := client.Read(p); string(p[:n]) != "abc" || err != nil {
		t.Errorf("%q, %v", p[:n], err)
	}
	for range 2 {
		var evidence *RecordError
		if n, err := client.Read(p); n != 0 || !errors.As(err, &evidence) || evidence.Header[0] != 0x15 {
			t.Errorf("n = %d, %v; want the alert", n, err)
		}
	}
}

// failing is a connection that accepts some bytes and then fails.
type failing struct {
	net.Conn
	takes int
	err   error
}

func (f *failing) Write(p []byte) (int, error) {
	n := min(f.takes, len(p))
	f.takes -= n
	if n < len(p) {
		return n, f.err
	}
	return n, nil
}

// n is the number of bytes sent, the first error is kept, and a Write can be repeated
// only after a timeout before the first byte.
func TestFailedWriteIsFinalOnceAPartWasSent(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		takes, n int
		err      error
		final    bool
	}{
		{0, 0, broken, true},
		{3, 0, broken, true},
		{6, 0, os.ErrDeadlineExceeded, true},
		{11, 0, broken, true},
		{12, 1, broken, true},
		{11 + 2878, 2878, broken, true},
		{11 + 2878 + 5, 2878, broken, true},
		{11 + 2878 + 5 + 7, 2885, os.ErrDeadlineExceeded, true},
		{11 + 2878 + 5 + 7, 2885, nil, true},
		{0, 0, os.ErrDeadlineExceeded, false},
	} {
		below := &failing{takes: c.takes, err: c.err}
		client := NewConn(below, frame.Client)
		n, err := client.Write(make([]byte, 5000))
		want := c.err
		if want == nil {
			want = io.ErrShortWrite
		}
		if n != c.n || !errors.Is(err, want) {
			t.Errorf("after %d bytes: n = %d, %v; want %d, %v", c.takes, n, err, c.n, want)
		}
		below.takes = 1 << 20
		n, err = client.Write([]byte("x"))
		if c.final && (n != 0 || err == nil || netx.IsTimeout(err)) {
			t.Errorf("after %d bytes, next Write: n = %d, %v; want a final error", c.takes, n, err)
		}
		if sent := 1<<20 - below.takes; !c.final && (err != nil || sent != 6+5+1) {
			t.Errorf("next Write after a timeout sent %d bytes, %v; want 12", sent, err)
		}
	}
}

func TestCloseWriteIsThatOfTheConnectionBelow(t *testing.T) {
	client, server := conns(t)
	client.Write([]byte("bye"))
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(server); string(got) != "bye" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := server.Write([]byte("still here")); err != nil {
		t.Error(err)
	}
	if got := readN(t, client, 10); string(got) != "still here" {
		t.Errorf("%q", got)
	}
	a, _ := net.Pipe()
	if err := NewConn(a, frame.Client).CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("over a net.Pipe: %v, want errors.ErrUnsupported", err)
	}
}

func TestConnHasAddressesDeadlinesAndCloseOfTheConnectionBelow(t *testing.T) {
	a, _ := tcpPair(t)
	c := NewConn(a, frame.Client)
	if c.NetConn() != a || c.LocalAddr() != a.LocalAddr() || c.RemoteAddr() != a.RemoteAddr() {
		t.Error("not the connection below or its addresses")
	}
	past := time.Unix(1, 0)
	for _, set := range []func(time.Time) error{c.SetDeadline, c.SetReadDeadline} {
		if err := set(past); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read after its deadline: %v", err)
		}
		c.SetDeadline(time.Time{})
	}
	c.SetWriteDeadline(past)
	if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write after its deadline: %d, %v", n, err)
	}
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("empty Read: %d, %v", n, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
}

// Reading and writing do not allocate once a connection runs.
func TestReadAndWriteDoNotAllocate(t *testing.T) {
	client, server := conns(t)
	p, q := make([]byte, 10_000), make([]byte, 10_000)
	run := func(from, to *Conn, q []byte) func() {
		return func() {
			if _, err := from.Write(p); err != nil {
				t.Fatal(err)
			}
			for left := len(p); left > 0; {
				n, err := to.Read(q[:min(left, len(q))])
				if err != nil {
					t.Fatal(err)
				}
				left -= n
			}
		}
	}
	for name, f := range map[string]func(){
		"client to server":                  run(client, server, q),
		"server to client":                  run(server, client, q),
		"client to server, in small pieces": run(client, server, q[:50]),
	} {
		// AllocsPerRun counts the whole process, in which goroutines of an earlier
		// test may still run.
		allocations := testing.AllocsPerRun(100, f)
		for range 3 {
			if allocations > 0 {
				allocations = testing.AllocsPerRun(100, f)
			}
		}
		if allocations != 0 {
			t.Errorf("%s: %v allocations", name, allocations)
		}
	}
}

// A Read with a large buffer reads many records in one Read below.
func TestReadReturnsManyRecordsOfOneReadBelow(t *testing.T) {
	stream := appendRecords(nil, make([]byte, 28_780), 2878)
	server := NewConn(streamConn{Reader: bytes.NewReader(stream)}, frame.Server)
	if n, err := server.Read(make([]byte, 1<<16)); n != 28_780 || err != nil {
		t.Errorf("n = %d, %v; want 28780", n, err)
	}
}

// A server that reads records together with the hello continues at any byte of them.
func TestConnContinuesFromADeframer(t *testing.T) {
	stream := join([]byte(changeCipherSpec), appendRecords(nil, []byte("abcdef"), 4))
	for at := range len(stream) + 1 {
		d := Deframer{From: frame.Client}
		ahead := bytes.Clone(stream[:at])
		n, err := d.Deframe(ahead)
		if err != nil {
			t.Fatal(err)
		}
		below := &counted{Conn: streamConn{Reader: bytes.NewReader(stream[at:])}}
		server := NewConnFrom(below, frame.Server, d)
		rest, err := io.ReadAll(server)
		if got := string(ahead[:n]) + string(rest); got != "abcdef" || err != nil {
			t.Errorf("%d bytes ahead: %q, %v", at, got, err)
		}
		if _, err := server.Write(make([]byte, 17)); err != nil || !bytes.HasPrefix(below.writes[0], []byte("\x17\x03\x03\x00\x11")) {
			t.Errorf("written: %q, %v", below.writes, err)
		}
	}
}
