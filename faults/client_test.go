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

// "client half-closes (the answer still arrives)".
func TestAnswerArrivesAfterAHalfClose(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		w := newWorld(t, m, nil)
		w.upstream.delay.Store(int64(20 * time.Millisecond)) // so that the end is there before the answer
		var running sync.WaitGroup
		for range 10 {
			socket := &closingConn{}
			c := mustDial(t, m, w.address, 2, over(func(conn *net.TCPConn) net.Conn {
				socket.TCPConn = conn
				return socket
			}))
			running.Go(func() {
				socket.last.Store(true) // the request is one write
				if err := c.Download(limited(t), 200); err != nil {
					t.Errorf("after a half-close: %v", err)
				}
				if err := c.Download(limited(t), 1); err == nil {
					t.Error("a request was taken after the end")
				}
			})
		}
		running.Wait()
	})
}

// closingConn half-closes behind what is written when last is set.
type closingConn struct {
	*net.TCPConn
	last atomic.Bool
}

func (c *closingConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	if c.last.Load() {
		c.TCPConn.CloseWrite()
	}
	return n, err
}

// "resets": in the middle of either direction, and before anything was said.
// The proxy lets go of both sides.
func TestResettingClientsLeaveNothingBehind(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		w := newWorld(t, m, nil)
		other := w.client(2)
		var running sync.WaitGroup
		for i := range 30 {
			running.Go(func() {
				socket := make(chan *net.TCPConn, 1)
				c, err := dial(limited(t), m, w.address, 2, over(func(conn *net.TCPConn) net.Conn {
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
					err = c.Download(limited(t), 1<<20)
				} else {
					err = c.Upload(limited(t), 1<<20)
				}
				if errors.Is(err, loadgen.ErrCorrupt) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("client %d: %v", i, err)
				}
			})
			running.Go(func() { // and one in the middle of its handshake
				conn, err := net.Dial("tcp", w.address)
				if err != nil {
					t.Error(err)
					return
				}
				conn.Write(make([]byte, i))
				resetConn(conn)
			})
		}
		running.Wait()
		eventually(t, "only the other is left", func() bool { return w.proxy.Stats().Open == 1 && w.dataCenter.Open() == 1 })
		exchange(t, other, 20)
	})
}

// slowConn writes one byte at a time: all of them, or the last few.
type slowConn struct {
	*net.TCPConn
	pace time.Duration // between bytes
	last int           // how many; 0 is all
}

func (c *slowConn) Write(b []byte) (int, error) {
	slow := c.last
	if slow == 0 {
		slow = len(b)
	}
	quick := max(0, len(b)-slow)
	n, err := c.TCPConn.Write(b[:quick])
	for err == nil && n < len(b) {
		time.Sleep(c.pace)
		var one int
		one, err = c.TCPConn.Write(b[n : n+1])
		n += one
	}
	return n, err
}

// "trickles one byte a second": slow in its handshake, within the limit, and
// slower once it is in, it is served, and others do not notice.
func TestTricklingClientIsServedAndHoldsUpNobody(t *testing.T) {
	inAllModesAtOnce(t, func(t *testing.T, m mode) {
		w := newWorld(t, m, nil)
		other := w.client(2)
		var running sync.WaitGroup
		defer running.Wait()
		trickled := make(chan struct{})
		running.Go(func() {
			defer close(trickled)
			socket := &slowConn{pace: 10 * time.Millisecond}
			if m.name == "ee" {
				socket.pace = time.Millisecond // a hello is much longer
			}
			c, err := dial(limited(t), m, w.address, 2, over(func(conn *net.TCPConn) net.Conn {
				socket.TCPConn = conn
				return socket
			}))
			if err != nil {
				t.Errorf("a slow handshake: %v", err)
				return
			}
			defer c.Close()
			socket.pace, socket.last = time.Second, 3
			if err := c.Echo(limited(t)); err != nil {
				t.Errorf("at one byte a second: %v", err)
			}
		})
		for {
			select {
			case <-trickled:
				return
			default:
			}
			start := time.Now()
			exchange(t, other, 5)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("another client's packets took %v", took)
			}
		}
	})
}

// A client that takes longer than the limit for its first bytes is cut off,
// and its bytes are answered by nobody.
func TestHandshakeAtOneByteASecondIsCutOff(t *testing.T) {
	t.Parallel()
	host := newFrontingHost(t)
	dc := startDataCenter(t, listen(t))
	_, address := startProxy(t, modes[1], host, leadingTo(dc), listen(t))
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
				t.Logf("it was cut off with %v", err)
			}
			return
		case <-time.After(time.Second):
		}
		if second == 30 {
			t.Fatal("it is still open after half a minute")
		}
	}
}
