package faults_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
)

// A client may half-close its connection behind a request. The answer still
// arrives.
func TestAnswerArrivesAfterAHalfClose(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		tb := newTestbed(t, m, nil)
		tb.upstream.delay.Store(int64(20 * time.Millisecond)) // so that the half-close arrives before the answer
		var running sync.WaitGroup
		for range 10 {
			socket := &halfCloser{}
			c := mustDial(t, m, tb.address, 2, wrapSocket(func(conn *net.TCPConn) net.Conn {
				socket.TCPConn = conn
				return socket
			}))
			running.Go(func() {
				socket.last.Store(true) // the request is one write
				if err := c.Download(testContext(t), 200); err != nil {
					t.Errorf("after a half-close: %v", err)
				}
				if err := c.Download(testContext(t), 1); err == nil {
					t.Error("a request was answered after the half-close")
				}
			})
		}
		running.Wait()
	})
}

// halfCloser half-closes the connection after a Write while last is set.
type halfCloser struct {
	*net.TCPConn
	last atomic.Bool
}

func (c *halfCloser) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	if c.last.Load() {
		c.TCPConn.CloseWrite()
	}
	return n, err
}

// Clients reset their connections in the middle of a download, of an upload and
// of a handshake. The proxy closes both sides.
func TestResettingClientsLeaveNothingBehind(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		tb := newTestbed(t, m, nil)
		other := tb.client(2)
		var running sync.WaitGroup
		for i := range 30 {
			running.Go(func() {
				socket := make(chan *net.TCPConn, 1)
				c, err := dial(testContext(t), m, tb.address, 2, wrapSocket(func(conn *net.TCPConn) net.Conn {
					socket <- conn
					return conn
				}))
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				conn := <-socket
				go func() {
					time.Sleep(time.Duration(i) * 5 * time.Millisecond) // at different points
					resetConn(conn)
				}()
				if i%2 == 0 {
					err = c.Download(testContext(t), 1<<20)
				} else {
					err = c.Upload(testContext(t), 1<<20)
				}
				if errors.Is(err, loadgen.ErrCorrupt) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("client %d: %v", i, err)
				}
			})
			running.Go(func() { // a client in the middle of its handshake
				conn, err := net.Dial("tcp", tb.address)
				if err != nil {
					t.Error(err)
					return
				}
				conn.Write(make([]byte, i))
				resetConn(conn)
			})
		}
		running.Wait()
		eventually(t, "only the other client is left", func() bool { return tb.proxy.Stats().Open == 1 && tb.dataCenter.Open() == 1 })
		exchange(t, other, 20)
	})
}

// slowConn writes one byte at a time. Bytes that are late, on a busy machine, go with the next.
type slowConn struct {
	*net.TCPConn
	pace time.Duration // between bytes
	last int           // the number of slow bytes at the end of a Write; 0 is all
	held chan struct{} // the last byte of a Write waits until this is closed; nil: it does not
}

func (c *slowConn) Write(b []byte) (int, error) {
	slow := c.last
	if slow == 0 {
		slow = len(b)
	}
	quick := max(0, len(b)-slow)
	n, err := c.TCPConn.Write(b[:quick])
	for begin := time.Now(); err == nil && n < len(b); {
		time.Sleep(c.pace)
		due := quick + int(time.Since(begin)/c.pace)
		end := min(max(due, n+1), len(b))
		if c.held != nil {
			if end = min(end, max(n, len(b)-1)); end == n {
				<-c.held
				end = len(b)
			}
		}
		var some int
		some, err = c.TCPConn.Write(b[n:end])
		n += some
	}
	return n, err
}

// A client whose handshake is slow, but within the time limit, is served, and
// may then send one byte a second. It does not delay other clients: the last byte is not sent
// before another one has exchanged packets.
func TestTricklingClientIsServedAndDelaysNoOther(t *testing.T) {
	inParallelModes(t, func(t *testing.T, m mode) {
		tb := newTestbed(t, m, nil)
		other := tb.client(2)
		var running sync.WaitGroup
		defer running.Wait()
		trickling, trickled, enough := make(chan struct{}), make(chan struct{}), make(chan struct{})
		running.Go(func() {
			defer close(trickled)
			socket := &slowConn{pace: 10 * time.Millisecond}
			if m.name == "ee" {
				socket.pace = time.Millisecond // a hello is much longer
			}
			c, err := dial(testContext(t), m, tb.address, 2, wrapSocket(func(conn *net.TCPConn) net.Conn {
				socket.TCPConn = conn
				return socket
			}))
			if err != nil {
				t.Errorf("a slow handshake: %v", err)
				return
			}
			defer c.Close()
			socket.pace, socket.last, socket.held = time.Second, 3, enough
			close(trickling)
			if err := c.Echo(testContext(t)); err != nil {
				t.Errorf("at one byte a second: %v", err)
			}
		})
		goOn := sync.OnceFunc(func() { close(enough) })
		defer goOn()
		for exchanges := 0; ; {
			exchange(t, other, 5)
			select {
			case <-trickled:
				return
			case <-trickling:
				if exchanges++; exchanges > 3 {
					goOn()
				}
			default:
			}
		}
	})
}

// A client whose handshake takes longer than the time limit is disconnected
// without an answer.
func TestHandshakeAtOneByteASecondIsDisconnected(t *testing.T) {
	t.Parallel()
	host := newFrontingHost(t)
	dc := startDataCenter(t, listen(t))
	_, address := startProxy(t, modes[1], host, oneDataCenter(dc), listen(t))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}()
	for second := 0; ; second++ {
		conn.Write([]byte{0x40 + byte(second)})
		select {
		case err := <-ended:
			if age := time.Since(start); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || age < 9*time.Second {
				t.Errorf("after %v: %v", age, err)
			} else if err != io.EOF {
				t.Logf("disconnected with %v", err)
			}
			return
		case <-time.After(time.Second):
		}
		if second == 30 {
			t.Fatal("the connection is still open after half a minute")
		}
	}
}
