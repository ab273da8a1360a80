package classify

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Stream is the bytes of one direction and their times, since the connection was
// accepted.
type Stream struct {
	Bytes    []byte
	Arrivals []Arrival
	// End is "fin", "reset", or "" if the direction has not ended.
	End   string
	EndAt time.Duration
}

// Arrival is the number of bytes that had arrived by a time.
type Arrival struct {
	At    time.Duration
	Total int
}

// when returns the time by which n bytes had arrived.
func (s *Stream) when(n int) time.Duration {
	for _, a := range s.Arrivals {
		if a.Total >= n {
			return a.At
		}
	}
	return 0
}

// Capture is a recorded connection.
type Capture struct {
	Up, Down Stream
}

// relay relays one connection to a server, and records it.
type relay struct {
	ln    net.Listener
	start time.Time

	mu      sync.Mutex
	capture Capture
	server  *net.TCPConn
	running sync.WaitGroup
}

// startRelay starts a relay for one connection to the server.
func startRelay(ctx context.Context, server string) (*relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{ln: ln}
	r.running.Go(func() {
		client, err := ln.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", server)
		if err != nil {
			return
		}
		defer conn.Close()
		r.mu.Lock()
		r.start, r.server = time.Now(), conn.(*net.TCPConn)
		r.mu.Unlock()
		defer context.AfterFunc(ctx, func() { client.Close(); conn.Close() })()
		var pair sync.WaitGroup
		pair.Go(func() { r.copy(conn, client, &r.capture.Up) })
		pair.Go(func() { r.copy(client, conn, &r.capture.Down) })
		pair.Wait()
	})
	return r, nil
}

func (r *relay) address() string { return r.ln.Addr().String() }

// now returns the time since the connection was accepted.
func (r *relay) now() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.start)
}

// segments returns the number of segments that came from the server.
func (r *relay) segments() uint32 {
	r.mu.Lock()
	server := r.server
	r.mu.Unlock()
	if server == nil {
		return 0
	}
	raw, err := server.SyscallConn()
	if err != nil {
		return 0
	}
	n := uint32(0)
	raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Segs_in
		}
	})
	return n
}

// sampleInterval is the time between two looks at the number of segments.
const sampleInterval = 500 * time.Millisecond

// countKeepAlives waits for d, and counts the segments that came from the server
// without data meanwhile.
func (r *relay) countKeepAlives(d time.Duration) (n int) {
	before, total := r.segments(), len(r.snapshot().Down.Bytes)
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(sampleInterval, time.Until(end)))
		now := r.segments()
		down := r.snapshot().Down
		if now > before && len(down.Bytes) == total && down.End == "" {
			n++
		}
		before, total = now, len(down.Bytes)
	}
	return n
}

// stop ends the connection, and returns what was recorded.
func (r *relay) stop() Capture {
	r.ln.Close()
	r.mu.Lock()
	if r.server != nil {
		r.server.SetDeadline(time.Now())
	}
	r.mu.Unlock()
	r.running.Wait()
	return r.capture
}

// snapshot returns what is recorded so far.
func (r *relay) snapshot() Capture {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.capture
}

// copy relays one direction, and passes its end on.
func (r *relay) copy(dst, src net.Conn, s *Stream) {
	b := make([]byte, 64<<10)
	for {
		n, err := src.Read(b)
		r.mu.Lock()
		at := time.Since(r.start)
		if n > 0 {
			s.Bytes = append(s.Bytes, b[:n]...)
			s.Arrivals = append(s.Arrivals, Arrival{at, len(s.Bytes)})
		}
		switch {
		case err == io.EOF:
			s.End, s.EndAt = "fin", at
		case errors.Is(err, syscall.ECONNRESET):
			s.End, s.EndAt = "reset", at
		}
		r.mu.Unlock()
		if _, failed := dst.Write(b[:n]); failed != nil || err != nil && err != io.EOF {
			dst.Close()
			src.Close()
			return
		}
		if err == io.EOF {
			dst.(*net.TCPConn).CloseWrite()
			return
		}
	}
}
