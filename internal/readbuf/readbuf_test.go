package readbuf

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/obfuscation"
)

// The layers that the package is for implement its interfaces.
var (
	_ decrypter = (*obfuscation.Conn)(nil)
	_ layer     = (*faketls.Conn)(nil)
)

// pair returns two ends of a TCP connection.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	a, b, err := loopback.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// testLayer is a layer over a socket. It reads ahead if pending is set.
type testLayer struct {
	net.Conn
	pending bool
}

func (l testLayer) NetConn() net.Conn { return l.Conn }
func (l testLayer) HasPending() bool  { return l.pending }

// kinds has a connection for each of the three ways of waiting.
var kinds = map[string]func(net.Conn) net.Conn{
	"socket":        func(c net.Conn) net.Conn { return c },
	"passing layer": func(c net.Conn) net.Conn { return testLayer{c, false} },
	"opaque layer":  func(c net.Conn) net.Conn { return testLayer{c, true} },
}

// Each byte is read once and in order, whatever part is consumed between two reads.
func TestBytesAreReadOnceAndInOrder(t *testing.T) {
	sent := make([]byte, 3<<20)
	for i := range sent {
		sent[i] = byte(i * 31 >> 3)
	}
	for name, wrap := range kinds {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			go func() {
				for rest := sent; len(rest) > 0; {
					n := min(len(rest), 1+rand.IntN(100_000))
					a.Write(rest[:n])
					rest = rest[n:]
				}
				a.Close()
			}()
			var r Reader
			r.Reset(wrap(b))
			var got []byte
			for {
				err := r.Fill()
				if err == io.EOF {
					break
				}
				if err != nil && err != io.ErrUnexpectedEOF {
					t.Fatal(err)
				}
				// A part stays unread, as of an incomplete packet.
				n := len(r.Bytes())
				if err == nil {
					n = rand.IntN(n + 1)
				}
				got = append(got, r.Bytes()[:n]...)
				r.Consume(n)
				if err != nil {
					break
				}
			}
			if !bytes.Equal(got, sent) {
				t.Errorf("%d bytes of %d were read, or others", len(got), len(sent))
			}
		})
	}
}

// A Reader that waits has no buffer if nothing is unread, and otherwise one in
// proportion to the unread bytes.
func TestBufferIsInProportionToTheUnreadBytes(t *testing.T) {
	for name, wrap := range kinds {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			var r Reader
			r.Reset(wrap(b))
			held := func(unread int) int {
				for len(r.Bytes()) < unread {
					if err := r.Fill(); err != nil {
						t.Fatal(err)
					}
				}
				b.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
				for {
					if err := r.Fill(); errors.Is(err, os.ErrDeadlineExceeded) {
						break
					} else if err != nil {
						t.Fatal(err)
					}
				}
				b.SetReadDeadline(time.Time{})
				if r.buf == nil {
					return 0
				}
				return len(r.buf.B)
			}
			if n := held(0); n != 0 {
				t.Errorf("%d bytes before the first one is received", n)
			}
			a.Write(make([]byte, 100))
			if n := held(100); n > 4*bufpool.Min {
				t.Errorf("%d bytes for 100", n)
			}
			a.Write(make([]byte, 50_000))
			if n := held(50_100); n > 4*50_100 {
				t.Errorf("%d bytes for 50,100", n)
			}
			r.Consume(len(r.Bytes()))
			if n := held(0); n != 0 {
				t.Errorf("%d bytes when all are consumed", n)
			}
		})
	}
}

// At the end of the stream Fill returns io.EOF only if there are no unread bytes.
func TestEndOfInputBehindUnreadBytesIsUnexpected(t *testing.T) {
	for name, wrap := range kinds {
		a, b := pair(t)
		var r Reader
		r.Reset(wrap(b))
		a.Write([]byte("abc"))
		a.Close()
		for len(r.Bytes()) < 3 {
			if err := r.Fill(); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Fill(); err != io.ErrUnexpectedEOF {
			t.Errorf("%s: with three bytes unread: %v", name, err)
		}
		if got := string(r.Take()); got != "abc" {
			t.Errorf("%s: %q", name, got)
		}
		if err := r.Fill(); err != io.EOF {
			t.Errorf("%s: with none: %v", name, err)
		}
	}
}

// A read without bytes is repeated, up to maxEmptyReads times.
func TestEmptyReadsAreRepeated(t *testing.T) {
	var r Reader
	r.Reset(&stingy{Reader: iotest.OneByteReader(bytes.NewReader([]byte("x"))), empty: 5})
	if err := r.Fill(); err != nil || string(r.Bytes()) != "x" {
		t.Errorf("%q, %v", r.Bytes(), err)
	}
	r = Reader{}
	r.Reset(&stingy{empty: 1 << 30})
	if err := r.Fill(); err != io.ErrNoProgress {
		t.Error(err)
	}
}

// stingy returns no bytes for the first empty reads.
type stingy struct {
	net.Conn
	io.Reader
	empty int
}

func (s *stingy) Read(p []byte) (int, error) {
	if s.empty--; s.empty >= 0 {
		return 0, nil
	}
	return s.Reader.Read(p)
}

// Grow is called before the buffer grows, and its error ends the read. The buffer stops at
// Max, and Trim replaces one that a long packet has left behind.
func TestGrowthIsAskedForAndBounded(t *testing.T) {
	for name, wrap := range kinds {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			r := Reader{Max: 900 << 10}
			largest, refused := 0, errors.New("refused")
			r.Grow = func(size int) error {
				if largest = max(largest, size); size > 1<<20 {
					return refused
				}
				return nil
			}
			r.Reset(wrap(b))
			go a.Write(make([]byte, 4<<20))
			var err error
			for err == nil {
				if err = r.Fill(); len(r.Bytes()) <= 800<<10 && largest > r.Max {
					t.Errorf("grown to %d for %d bytes, limit %d", largest, len(r.Bytes()), r.Max)
				}
			}
			if !errors.Is(err, refused) || r.Size() < 800<<10 || r.Size() > 1<<20 {
				t.Errorf("%v, with a buffer of %d bytes", err, r.Size())
			}
			r.Consume(len(r.Bytes()) - 1)
			if r.Trim(); r.Size() != bufpool.Min || len(r.Bytes()) != 1 {
				t.Errorf("trimmed to %d bytes, %d unread", r.Size(), len(r.Bytes()))
			}
		})
	}
}
