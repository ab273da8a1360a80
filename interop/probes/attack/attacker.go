package attack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/interop/probes/probe"
	"github.com/mtwire/mtwire/interop/probes/tlswire"
)

// attacker is one address with many connections.
type attacker struct {
	proxy string

	mu    sync.Mutex
	conns []net.Conn
}

const (
	// openers is the number of connections that are opened at one time.
	openers = 32
	// openTimeout bounds one.
	openTimeout = 20 * time.Second
	// answerTimeout bounds the wait for its answer.
	answerTimeout = time.Second
)

// hold opens n connections and holds them. It returns how many could be opened: a
// proxy at its limit may close some.
func (a *attacker) hold(ctx context.Context, s scenario, n int) (held int, err error) {
	var running sync.WaitGroup
	var next, opened atomic.Int64
	var failed atomic.Pointer[error]
	for range openers {
		running.Go(func() {
			for i := next.Add(1); i <= int64(n) && ctx.Err() == nil; i = next.Add(1) {
				conn, err := s.open(ctx, a, int(i))
				if err != nil {
					failed.Store(&err)
					continue
				}
				opened.Add(1)
				a.mu.Lock()
				a.conns = append(a.conns, conn)
				a.mu.Unlock()
			}
		})
	}
	running.Wait()
	if held = int(opened.Load()); held == 0 {
		err = errors.New("no connection can be opened")
		if e := failed.Load(); e != nil {
			err = *e
		}
	}
	return held, err
}

// alive returns how many of the held connections the proxy has not closed.
func (a *attacker) alive() (n int) {
	b := make([]byte, 16<<10)
	for _, conn := range a.conns {
		err := error(nil)
		for err == nil { // the answer to a hello
			conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err = conn.Read(b)
		}
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			n++
		}
	}
	return n
}

func (a *attacker) close() {
	for _, conn := range a.conns {
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

// dial connects from an address.
func dial(ctx context.Context, from, proxy string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: openTimeout, KeepAlive: -1}
	return dialer.DialContext(ctx, "tcp", proxy)
}

// openWith returns a connection over which data was sent.
func openWith(ctx context.Context, a *attacker, data []byte) (net.Conn, error) {
	conn, err := dial(ctx, attackerAddress, a.proxy)
	if err == nil && len(data) > 0 {
		_, err = conn.Write(data)
	}
	return conn, err
}

func openSilent(ctx context.Context, a *attacker, _ int) (net.Conn, error) {
	return openWith(ctx, a, nil)
}

func openOneByte(ctx context.Context, a *attacker, _ int) (net.Conn, error) {
	return openWith(ctx, a, []byte{tlswire.TypeHandshake})
}

func openHalfHello(ctx context.Context, a *attacker, i int) (net.Conn, error) {
	hello := probe.VisitorHello(fmt.Sprint("attacker ", i))
	return openWith(ctx, a, hello[:len(hello)/2])
}

// awaitAnswer waits a moment for the first bytes of an answer. A connection that gets
// none is held all the same.
func awaitAnswer(conn net.Conn) {
	conn.SetReadDeadline(time.Now().Add(answerTimeout))
	io.ReadFull(conn, make([]byte, tlswire.HeaderLength))
}

// openFronted is a visitor of the site that stays.
func openFronted(ctx context.Context, a *attacker, i int) (net.Conn, error) {
	conn, err := openWith(ctx, a, probe.VisitorHello(fmt.Sprint("attacker ", i)))
	if err == nil {
		awaitAnswer(conn)
	}
	return conn, err
}

// openAnswered is a client with the secret that goes silent after the hellos.
func openAnswered(ctx context.Context, a *attacker, _ int) (net.Conn, error) {
	hello, err := probe.SignedHello()
	if err != nil {
		return nil, err
	}
	conn, err := openWith(ctx, a, hello)
	if err == nil {
		awaitAnswer(conn)
	}
	return conn, err
}

// flood sends hellos of 16 KB with no known key, rate of them in a second, from 16
// addresses, until stop is called.
func (a *attacker) flood(ctx context.Context, rate int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			running.Go(func() {
				conn, err := dial(ctx, fmt.Sprintf("127.10.%d.1", i%16), a.proxy)
				if err != nil {
					return
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(openTimeout))
				defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
				conn.Write(probe.LargeHello(fmt.Sprint("flood ", i)))
				conn.Read(make([]byte, 1))
			})
		}
	})
	return func() { cancel(); running.Wait() }
}
