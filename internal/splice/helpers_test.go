package splice

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// pair returns both ends of a TCP connection.
func pair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	a, b, err := mtwiretest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// plain hides the type of a connection, so that bytes are copied through a buffer
// and the direction is not parked.
type plain struct{ net.Conn }

func (p plain) NetConn() net.Conn { return p.Conn }

func (p plain) CloseWrite() error { return p.Conn.(*net.TCPConn).CloseWrite() }

// wrappers make a connection of a Flow from a socket.
var wrappers = map[string]func(*net.TCPConn) net.Conn{
	"socket to socket": func(c *net.TCPConn) net.Conn { return c },
	"through a buffer": func(c *net.TCPConn) net.Conn { return plain{c} },
}

// invert is a Transform that loses nothing and is its own inverse.
func invert(b []byte) (int, error) {
	for i := range b {
		b[i] = ^b[i]
	}
	return len(b), nil
}

// records is a Framing like that of TLS records, and shapedRecords one like that of
// a site.
var (
	records       = &Framing{HeaderLength: 5, MaxBody: 1<<14 + 17, PutHeader: putHeader}
	shapedRecords = &Framing{
		HeaderLength: 5, MaxBody: 8017, Leading: []int{306, 290}, Ramp: []int{1203, 2389, 3575},
		MinBody: 17, Hold: 100 * time.Millisecond, PutHeader: putHeader,
	}
)

func putHeader(h []byte, n int) {
	copy(h, "\x17\x03\x03")
	binary.BigEndian.PutUint16(h[3:], uint16(n))
}

// unframe reads records until the end of the stream, and returns their bodies.
func unframe(r io.Reader) (b []byte, err error) {
	for {
		var h [5]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			if err == io.EOF {
				err = nil
			}
			return b, err
		}
		body := make([]byte, binary.BigEndian.Uint16(h[3:]))
		if string(h[:3]) != "\x17\x03\x03" || len(body) == 0 || len(body) > records.MaxBody {
			return b, errors.New("a bad header")
		}
		if _, err := io.ReadFull(r, body); err != nil {
			return b, err
		}
		b = append(b, body...)
	}
}

// treatments set the functions of a Flow, one for each way of copying.
var treatments = map[string]func(*Flow){
	"unchanged":              func(f *Flow) {},
	"transformed":            func(f *Flow) { f.Transform = invert },
	"framed":                 func(f *Flow) { f.Framing = records },
	"transformed and framed": func(f *Flow) { f.Transform, f.Framing = invert, records },
	"shaped":                 func(f *Flow) { f.Framing = shapedRecords },
	"transformed and shaped": func(f *Flow) { f.Transform, f.Framing = invert, shapedRecords },
	"inspected": func(f *Flow) {
		seen := 0
		f.Inspect = func(b []byte) bool { seen += len(b); return seen < 3000 }
	},
	"inspected and framed": func(f *Flow) { f.Inspect, f.Framing = func([]byte) bool { return false }, records },
}

// startPoller runs a Poller until the test ends.
func startPoller(t *testing.T) *Poller {
	t.Helper()
	poller, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- poller.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Errorf("the poller ended with %v", err)
		}
	})
	return poller
}

// patience is how long a test waits for what must happen. It ends a test that hangs, and is
// more than a slow machine takes.
const patience = 30 * time.Second

// eventually fails the test if condition does not hold within patience.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so: %s", what)
		}
	}
}
