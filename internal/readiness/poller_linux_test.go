package readiness

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/mtwire/mtwire/internal/netx"
	"golang.org/x/sys/unix"
)

// sockets returns both ends of a connection.
func sockets(t *testing.T, bare bool) (here net.Conn, there *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if bare {
		ln = netx.Sockets(ln)
	}
	dialed, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if here, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		here.Close()
		dialed.Close()
	})
	return here, dialed.(*net.TCPConn)
}

// startPoller returns a Poller, which is closed at the end.
func startPoller(t *testing.T) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// There is an event for bytes, for more of them, and for the end of the stream, and what was
// there before the watch counts. Readable is true until all was read.
func TestASocketThatBecomesReadable(t *testing.T) {
	for _, bare := range []bool{false, true} {
		here, there := sockets(t, bare)
		ready := make(chan struct{}, 10)
		w := startPoller(t).Watch(here, func() { ready <- struct{}{} })
		if w == nil || w.Readable() {
			t.Fatalf("watch %v", w)
		}
		for range 3 {
			io.WriteString(there, "ab")
			<-ready
			for _, left := range []bool{true, false} {
				if _, err := here.Read(make([]byte, 1)); err != nil || w.Readable() != left {
					t.Errorf("readable: %v, want %v; %v", !left, left, err)
				}
			}
		}
		there.CloseWrite()
		<-ready
		if !w.Readable() {
			t.Error("the end of the stream is not readable")
		}
		here.Close()
		if !w.Readable() {
			t.Error("a socket that is closed is not readable")
		}
		w.Stop()
	}
}

// A watch that was stopped gets no events, and does not stay. The next one of the socket does
// get them.
func TestStopEndsAWatch(t *testing.T) {
	here, there := sockets(t, true)
	p := startPoller(t)
	p.Watch(here, func() { t.Error("an event after Stop") }).Stop()
	if len(p.watches) != 0 {
		t.Error("a watch is left")
	}
	ready := make(chan struct{}, 10)
	w := p.Watch(here, func() { ready <- struct{}{} })
	io.WriteString(there, "x")
	<-ready
	w.Stop()
}

// What is no socket, or comes after Close, is not watched.
func TestWhatCannotBeWatched(t *testing.T) {
	p := startPoller(t)
	a, b := net.Pipe()
	defer b.Close()
	if p.Watch(a, func() {}) != nil {
		t.Error("a pipe is watched")
	}
	here, _ := sockets(t, false)
	p.Close()
	if p.Watch(here, func() {}) != nil || len(p.watches) != 0 {
		t.Error("a socket is watched after Close")
	}
}

// There is no Poller for a descriptor for which the runtime's poller cannot wait, such as that
// of a regular file: sockets would wait in it for ever.
func TestAPollerForWhichTheRuntimeCannotWait(t *testing.T) {
	fd, err := unix.Open(filepath.Join(t.TempDir(), "file"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := newPoller(fd); err == nil {
		p.Close()
		t.Error("no error")
	}
}
