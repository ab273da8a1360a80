package netx

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var errNoDeadline = errors.New("deadline not supported")

// withoutDeadlines is a connection that has none, like a channel of SSH.
type withoutDeadlines struct{ net.Conn }

func (withoutDeadlines) SetDeadline(time.Time) error      { return errNoDeadline }
func (withoutDeadlines) SetReadDeadline(time.Time) error  { return errNoDeadline }
func (withoutDeadlines) SetWriteDeadline(time.Time) error { return errNoDeadline }

// deaf is a connection that ignores its deadlines.
type deaf struct{ net.Conn }

func (deaf) SetDeadline(time.Time) error      { return nil }
func (deaf) SetReadDeadline(time.Time) error  { return nil }
func (deaf) SetWriteDeadline(time.Time) error { return nil }

// foreign is a connection with a timeout of its own, like a stream of yamux.
type foreign struct{ net.Conn }

type foreignTimeout struct{}

func (foreignTimeout) Error() string   { return "deadline reached" }
func (foreignTimeout) Timeout() bool   { return true }
func (foreignTimeout) Temporary() bool { return false }

func (f foreign) Read(p []byte) (int, error)  { return foreignError(f.Conn.Read(p)) }
func (f foreign) Write(p []byte) (int, error) { return foreignError(f.Conn.Write(p)) }

func foreignError(n int, err error) (int, error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("stream: %w", foreignTimeout{})
	}
	return n, err
}

// conns are the connections that keep their deadlines with WithDeadlines only.
var conns = map[string]func(net.Conn) net.Conn{
	"without deadlines": func(c net.Conn) net.Conn { return withoutDeadlines{c} },
	"foreign timeouts":  func(c net.Conn) net.Conn { return foreign{c} },
	"ignored deadlines": func(c net.Conn) net.Conn { return deaf{c} },
}

// overAny runs f in a bubble for each of conns, with the other end of it. slack is how
// late a call may end.
func overAny(t *testing.T, f func(t *testing.T, conn, peer net.Conn, slack time.Duration)) {
	for name, wrap := range conns {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, peer := net.Pipe()
				conn := WithDeadlines(wrap(near))
				defer peer.Close()
				defer conn.Close()
				slack := time.Duration(0)
				if name == "ignored deadlines" {
					slack = stuckTime
				}
				f(t, conn, peer, slack)
			})
		})
	}
}

// A deadline ends a Read with package os's error. Bytes that arrive afterwards are read
// by the next one, unless the connection had to be closed.
func TestDeadlineEndsAReadOverAnyConnection(t *testing.T) {
	overAny(t, func(t *testing.T, conn, peer net.Conn, slack time.Duration) {
		for _, set := range []func(time.Time){
			func(at time.Time) { conn.SetReadDeadline(at) },
			func(at time.Time) { // during the call
				time.AfterFunc(time.Until(at), func() { conn.SetReadDeadline(time.Unix(1, 0)) })
			},
		} {
			start := time.Now()
			set(start.Add(time.Minute))
			n, err := conn.Read(make([]byte, 10))
			if took := time.Since(start); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || took < time.Minute || took > time.Minute+slack {
				t.Errorf("%d bytes, %v after %v", n, err, took)
			}
			if _, err := conn.Read(make([]byte, 10)); slack == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("while the deadline is over: %v", err)
			}
			conn.SetReadDeadline(time.Time{})
			if slack > 0 {
				if _, err := conn.Read(make([]byte, 10)); err == nil || IsTimeout(err) {
					t.Errorf("afterwards: %v", err)
				}
				return
			}
			for _, sent := range []string{"abc", "defg"} {
				go io.WriteString(peer, sent)
				got := make([]byte, len(sent))
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != sent {
					t.Errorf("then read %q, %v", got, err)
				}
			}
		}
	})
}

// A deadline ends a Write. Whatever was sent, the connection below is not written to twice
// for it: where that is unknown, later Writes fail, with no timeout.
func TestDeadlineEndsAWriteOverAnyConnection(t *testing.T) {
	overAny(t, func(t *testing.T, conn, peer net.Conn, slack time.Duration) {
		start := time.Now()
		conn.SetWriteDeadline(start.Add(time.Minute))
		_, err := conn.Write(make([]byte, 100_000))
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took < time.Minute || took > time.Minute+slack {
			t.Errorf("%v after %v", err, took)
		}
		conn.SetWriteDeadline(time.Time{})
		go io.Copy(io.Discard, peer)
		_, own := conn.(*checkedConn)
		if _, err := conn.Write([]byte("abc")); own && slack == 0 != (err == nil) || !own && !errors.Is(err, net.ErrClosed) || IsTimeout(err) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// A deadline that has passed while no call was running ends none that begins after it was
// removed.
func TestDeadlineBetweenCallsClosesNothing(t *testing.T) {
	overAny(t, func(t *testing.T, conn, peer net.Conn, _ time.Duration) {
		conn.SetDeadline(time.Now().Add(time.Second))
		time.Sleep(time.Minute)
		conn.SetDeadline(time.Time{})
		checkReadable(t, conn, peer)
		go io.Copy(io.Discard, peer)
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Error(err)
		}
	})
}

// Bytes arrive once and in order, whatever the sizes of Reads and Writes are, and while
// deadlines pass.
func TestBytesArriveInOrderOverAnyConnection(t *testing.T) {
	overAny(t, func(t *testing.T, conn, peer net.Conn, slack time.Duration) {
		if slack > 0 {
			return // a deadline closes it
		}
		sent := make([]byte, 300_000)
		for i := range sent {
			sent[i] = byte(i * 31 >> 3)
		}
		go func() {
			for rest := sent; len(rest) > 0; {
				time.Sleep(time.Second)
				n := min(len(rest), 1+rand.N(50_000))
				peer.Write(rest[:n])
				rest = rest[n:]
			}
		}()
		var got []byte
		for len(got) < len(sent) {
			conn.SetReadDeadline(time.Now().Add(rand.N(2 * time.Second)))
			p := make([]byte, 1+rand.N(50_000))
			n, err := conn.Read(p)
			if got = append(got, p[:n]...); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, sent) {
			t.Error("other bytes arrived")
		}
		go conn.Write(sent)
		got = make([]byte, len(sent))
		if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("the peer received other bytes, %v", err)
		}
	})
}

// Close ends blocked calls of a connection without deadlines at once, also if the
// connection below does not.
func TestCloseEndsCallsWithoutDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		conn := WithDeadlines(unclosable{withoutDeadlines{near}})
		ended := make(chan error, 2)
		go func() { _, err := conn.Read(make([]byte, 1)); ended <- err }()
		go func() { _, err := conn.Write(make([]byte, 1)); ended <- err }()
		synctest.Wait()
		conn.Close()
		for range 2 {
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
		far.Close()
	})
}

// unclosable is a connection whose Close does nothing.
type unclosable struct{ net.Conn }

func (unclosable) Close() error { return nil }

// Sockets, and connections over them, need no other connection.
func TestSocketsAreReturnedAsTheyAre(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	checked := WithDeadlines(near)
	socket := &net.TCPConn{}
	for _, conn := range []net.Conn{socket, &net.UnixConn{}, tls.Client(socket, nil), checked, tls.Server(checked, nil)} {
		if got := WithDeadlines(conn); got != conn {
			t.Errorf("%T: %T", conn, got)
		}
	}
	if conn := tls.Client(far, nil); WithDeadlines(conn) == net.Conn(conn) {
		t.Error("TLS over another connection was returned as it is")
	}
}

// A timeout is any connection's own error for it, but no error of the system and no
// context's.
func TestTimeoutsOfAnyConnection(t *testing.T) {
	for _, err := range []error{os.ErrDeadlineExceeded, foreignTimeout{}, fmt.Errorf("read: %w", foreignTimeout{}), &net.OpError{Op: "read", Err: foreignTimeout{}}} {
		if !IsTimeout(err) {
			t.Errorf("%v is none", err)
		}
	}
	for _, err := range []error{nil, io.EOF, syscall.ETIMEDOUT, &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}, context.DeadlineExceeded} {
		if IsTimeout(err) {
			t.Errorf("%v is one", err)
		}
	}
}
