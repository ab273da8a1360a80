package splice

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// isReset reports whether err is what a write to a connection, or a read, returns
// after a reset.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// fill writes random bytes to conn until neither its peer nor the pair behind that
// takes any for several times in a row: one may be over while the pair was held up. It
// returns them, and how many of them the peer's kernel has acknowledged at least.
func fill(t *testing.T, conn net.Conn) (written []byte, acknowledged int) {
	t.Helper()
	b := make([]byte, 64<<10)
	rand.Read(b)
	for full := 0; full < 4; {
		conn.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := conn.Write(b)
		written = append(written, b[:n]...)
		if full++; n > 0 {
			full = 0
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	return written, len(written) - queued(conn)
}

// abort resets conn as a close with unread bytes does.
func abort(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// What a server has sent before a reset arrives, although the direction to the
// server fails first: the client does not read yet.
func TestBytesAheadOfAResetArrive(t *testing.T) {
	for name, wrap := range wrappers {
		for treatment, treat := range treatments {
			t.Run(name+", "+treatment, func(t *testing.T) {
				t.Parallel()
				client, left := pair(t)
				right, server := pair(t)
				down := Flow{Dst: wrap(left), Src: wrap(right)}
				treat(&down)
				transformed, framed := down.Transform != nil, down.Framing != nil
				ended := make(chan [2]Result, 1)
				Start(Flow{Dst: wrap(right), Src: wrap(left)}, down, &Config{Poller: startPoller(t), Idle: time.Millisecond},
					func(up, down Result) {
						abort(left) // which would discard what is not acknowledged
						ended <- [2]Result{up, down}
					})
				written, acknowledged := fill(t, server)
				abort(server)
				client.Write([]byte("x"))
				time.Sleep(20 * time.Millisecond)
				select {
				case r := <-ended:
					t.Fatalf("the pair ended before the client has read: %+v", r)
				default:
				}
				got, err := readAll(client, framed)
				if transformed {
					invert(got)
				}
				r := <-ended
				if !isReset(err) || !bytes.HasPrefix(written, got) || len(got) < acknowledged {
					t.Errorf("%d bytes of %d, %v; the pair: %+v", len(got), acknowledged, err, r)
				}
				if !isReset(errors.Join(r[0].Err, r[1].Err)) || r[0].Err != nil && r[1].Err != nil || r[1].Bytes != int64(len(got)) {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

// readAll reads to the end of the stream. With a Framing, it returns the bodies.
func readAll(r io.Reader, framed bool) ([]byte, error) {
	if framed {
		return unframe(r)
	}
	return io.ReadAll(r)
}

// A paused direction delivers too, and does not pause any more.
func TestBytesAheadOfAResetArriveInAPause(t *testing.T) {
	client, left := pair(t)
	right, server := pair(t)
	paused := make(chan struct{}, 1)
	down := Flow{Dst: left, Src: right, Delay: func(int) time.Duration {
		select {
		case paused <- struct{}{}:
		default:
		}
		return time.Hour
	}}
	ended := make(chan [2]Result, 1)
	Start(Flow{Dst: right, Src: left}, down, &Config{Poller: startPoller(t), Idle: time.Millisecond}, func(up, down Result) {
		left.Close()
		ended <- [2]Result{up, down}
	})
	server.Write([]byte("before, "))
	<-paused
	server.Write([]byte("during"))
	time.Sleep(10 * time.Millisecond) // for its acknowledgement
	abort(server)
	client.Write([]byte("x"))
	if got, err := io.ReadAll(client); err != nil || string(got) != "before, during" {
		t.Errorf("%q, %v", got, err)
	}
	if r := <-ended; !isReset(r[0].Err) || r[1] != (Result{Bytes: 14}) {
		t.Errorf("%+v", r)
	}
}

// A half-close that fails, because the destination has been reset, is like a write
// that fails.
func TestBytesAheadOfAResetArriveAfterAHalfClose(t *testing.T) {
	client, left := pair(t)
	right, server := pair(t)
	ended := make(chan [2]Result, 1)
	Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{}, func(up, down Result) {
		abort(left)
		ended <- [2]Result{up, down}
	})
	written, acknowledged := fill(t, server)
	abort(server)
	time.Sleep(10 * time.Millisecond)
	client.CloseWrite()
	time.Sleep(10 * time.Millisecond)
	got, err := io.ReadAll(client)
	if !isReset(err) || !bytes.HasPrefix(written, got) || len(got) < acknowledged {
		t.Errorf("%d bytes of %d, %v", len(got), acknowledged, err)
	}
	if r := <-ended; (r[0].Err == nil) == (r[1].Err == nil) || r[1].Bytes != int64(len(got)) {
		t.Errorf("%+v", r)
	}
}

// A source that is reset has been read to its end. Its last bytes arrive although
// the caller resets the destination too: the pair lasts until they are acknowledged.
func TestDeliveredBytesOutliveAReset(t *testing.T) {
	client, left := pair(t)
	right, server := pair(t)
	written, acknowledged := fill(t, left) // the client's window is full, left's queue has more
	ended := make(chan [2]Result, 1)
	Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{}, func(up, down Result) {
		abort(left)
		ended <- [2]Result{up, down}
	})
	abort(server)
	time.Sleep(20 * time.Millisecond)
	got, err := io.ReadAll(client)
	if !isReset(err) || !bytes.Equal(got, written) {
		t.Errorf("%d bytes of %d, of which %d were acknowledged before: %v", len(got), len(written), acknowledged, err)
	}
	if r := <-ended; r[0].Err != nil || !isReset(r[1].Err) {
		t.Errorf("%+v", r)
	}
}

// After a reset the other peer has the linger to take the bytes, and not longer.
// Reading some of them does not extend it. Abort ends it at once.
func TestDeliveryAfterAResetIsLimited(t *testing.T) {
	for name, end := range map[string]func(p *Pair, client net.Conn, ended chan [2]Result) time.Duration{
		"nothing is read": func(*Pair, net.Conn, chan [2]Result) time.Duration { return 300 * time.Millisecond },
		"some is read": func(p *Pair, client net.Conn, ended chan [2]Result) time.Duration {
			for range 100 {
				client.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
				client.Read(make([]byte, 100))
				time.Sleep(10 * time.Millisecond)
				if len(ended) > 0 {
					break
				}
			}
			return 300 * time.Millisecond
		},
		"aborted": func(p *Pair, _ net.Conn, _ chan [2]Result) time.Duration {
			p.Abort(os.ErrClosed)
			return 0
		},
	} {
		for _, size := range []int{1 << 10, 8 << 20} { // it is not acknowledged, or not even written
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				client, left := pair(t)
				right, server := pair(t)
				fill(t, left)
				left.SetWriteDeadline(time.Time{})
				ended := make(chan [2]Result, 1)
				p := Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{Linger: 300 * time.Millisecond},
					func(up, down Result) { ended <- [2]Result{up, down} })
				server.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
				server.Write(make([]byte, size))
				begin := time.Now() // the linger cannot begin earlier
				abort(server)
				client.Write([]byte("x"))
				for start := time.Now(); !p.failed.Load() && time.Since(start) < patience; { // until it has noticed
					time.Sleep(time.Millisecond)
				}
				want := end(p, client, ended)
				select {
				case r := <-ended:
					if took := time.Since(begin); took < want || !isReset(r[0].Err) && !isReset(r[1].Err) {
						t.Errorf("%+v after %v, want %v", r, took, want)
					}
				case <-time.After(patience): // without the limit it would be minutes
					t.Fatal("the pair continues")
				}
			})
		}
	}
}

// The first bytes of a flow are written ahead of those from the source, and a
// direction that fails with them lets the other one deliver.
func TestFirstBytesFail(t *testing.T) {
	client, left := pair(t)
	right, server := pair(t)
	server.Write([]byte("refused"))
	time.Sleep(10 * time.Millisecond) // for its acknowledgement
	abort(server)
	time.Sleep(10 * time.Millisecond)
	ended := make(chan [2]Result, 1)
	Start(Flow{Dst: right, Src: left, First: make([]byte, 1<<20)}, Flow{Dst: left, Src: right}, &Config{},
		func(up, down Result) {
			left.Close()
			ended <- [2]Result{up, down}
		})
	if got, err := io.ReadAll(client); err != nil || string(got) != "refused" {
		t.Errorf("%q, %v", got, err)
	}
	if r := <-ended; !isReset(r[0].Err) && !isReset(r[1].Err) {
		t.Errorf("%+v", r)
	}
}
