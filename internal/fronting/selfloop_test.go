package fronting

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// translated is a network in which addresses do not show a loop. Every dialed
// connection goes to the proxy itself, or to the real host if there is one.
type translated struct {
	pool    *Pool
	ctx     context.Context
	running sync.WaitGroup
	dials   atomic.Int32
	real    atomic.Pointer[func(net.Conn)]
	fail    atomic.Pointer[net.OpError] // of dials
}

// newLoop returns the network of a proxy whose fronting host is the proxy itself.
func newLoop(t *testing.T) (*translated, *lockedBuffer) {
	n := &translated{}
	p, log := newPool(t, Config{Hosts: []Host{{Domain: "a.example"}}, DialContext: n.dial})
	ctx, cancel := context.WithCancel(t.Context())
	n.pool, n.ctx = p, ctx
	t.Cleanup(func() { cancel(); n.running.Wait() })
	return n, log
}

func (n *translated) dial(context.Context, string, string) (net.Conn, error) {
	n.dials.Add(1)
	if err := n.fail.Load(); err != nil {
		return nil, err
	}
	return n.visit(), nil
}

// visit returns a connection to the address that the proxy and its host share.
func (n *translated) visit() net.Conn {
	client, server := net.Pipe()
	n.running.Go(func() {
		defer server.Close()
		if real := n.real.Load(); real != nil {
			(*real)(server)
			return
		}
		n.serve(server)
	})
	return client
}

// serve treats conn as a proxy treats an unauthenticated client.
func (n *translated) serve(conn net.Conn) {
	first := make([]byte, 4096)
	conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	read, err := conn.Read(first)
	conn.SetReadDeadline(time.Time{})
	if err == nil {
		n.pool.Tunnel(n.ctx, conn, Client{}, first[:read])
		return
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	c, err := n.pool.Preconnect(n.ctx, Client{}, nil)
	if err != nil {
		return
	}
	if c.Wait(n.ctx) == nil {
		c.Tunnel(n.ctx, conn, nil)
	}
	c.Close()
}

// loopWarnings counts the warnings about a loop.
func loopWarnings(log *lockedBuffer) int {
	return strings.Count(log.String(), `level=WARN msg="fronting host unreachable, unauthenticated clients get no answer" address=a.example:443 error="fronting host a.example `+errLoop.Error())
}

// A host whose address is the proxy's own is not connected, and the warning names
// the flag to set.
func TestHostWithTheProxysAddressIsRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client.Close() // ends Tunnel before its 10 seconds
	p, log := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: ln.Addr().String()}}})
	self := Client{Local: server.LocalAddr().(*net.TCPAddr).AddrPort()}
	if _, err := p.Tunnel(context.Background(), server, self, nil); !errors.Is(err, errLoop) {
		t.Error(err)
	}
	if _, err := p.Preconnect(context.Background(), self, nil); !errors.Is(err, errLoop) {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "--front") {
		t.Errorf("log %q", log)
	}
}

// Behind address translation, a loop costs a limited number of connections for
// the first client, and then one probe a minute.
func TestLoopBehindTranslationIsCutShort(t *testing.T) {
	for name, text := range map[string]string{"with bytes": "GET / HTTP/1.1\r\n\r\n", "silent": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, log := newLoop(t)
				client := n.visit()
				io.WriteString(client, text)
				expectEnd(t, client)
				synctest.Wait()
				if got := n.dials.Load(); got > minUnanswered+1 {
					t.Errorf("%d connections for one client", got)
				}
				if !only(n.pool).isProxy || loopWarnings(log) == 0 {
					t.Errorf("log %q", log)
				}
				n.running.Wait()

				n.dials.Store(0)
				before, begin := loopWarnings(log), time.Now()
				for range 100 {
					client := n.visit()
					io.WriteString(client, "hello")
					expectEnd(t, client)
				}
				minutes := int(time.Since(begin)/time.Minute) + 1
				if got := int(n.dials.Load()); got > minutes {
					t.Errorf("%d connections in %d minutes", got, minutes)
				}
				if got := loopWarnings(log) - before; got > minutes {
					t.Errorf("%d warnings in %d minutes", got, minutes)
				}
			})
		})
	}
}

// Without any client, the first measurement finds a loop with one connection.
// When the host is a real one, the next measurement finds that.
func TestLoopIsFoundByMeasuring(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	synctest.Test(t, func(t *testing.T) {
		n, log := newLoop(t)
		_, err := n.pool.round(t.Context(), only(n.pool))
		synctest.Wait()
		if !errors.Is(err, errLoop) || n.dials.Load() != 1 || loopWarnings(log) != 1 {
			t.Fatalf("%v after %d connections; log %q", err, n.dials.Load(), log)
		}
		if _, err := n.pool.Preconnect(t.Context(), Client{}, nil); !errors.Is(err, errLoop) || n.dials.Load() != 1 {
			t.Errorf("a silent client: %v", err)
		}
		real := func(conn net.Conn) { serveTLS(conn, config) }
		n.real.Store(&real)
		if _, err := n.pool.round(t.Context(), only(n.pool)); err != nil {
			t.Fatal(err)
		}
		c, err := n.pool.Preconnect(t.Context(), Client{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
}

// prefixed is a connection that returns first again before it reads on.
type prefixed struct {
	net.Conn
	first []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.first) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.first)
	p.first = p.first[n:]
	return n, nil
}

// An observer that replays a probe's ClientHello gets the host, and cannot make
// the proxy take a working host for a loop.
func TestReplayedProbeGetsTheHost(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	synctest.Test(t, func(t *testing.T) {
		n, log := newLoop(t)
		hellos := make(chan []byte, 10)
		real := func(conn net.Conn) {
			hello := make([]byte, 4096)
			read, _ := conn.Read(hello)
			hellos <- hello[:read]
			time.Sleep(time.Second) // the host's latency
			serveTLS(&prefixed{conn, hello[:read]}, config)
		}
		n.real.Store(&real)
		measured := make(chan error, 1)
		go func() {
			_, err := n.pool.probe(t.Context(), only(n.pool), false)
			measured <- err
		}()
		hello := <-hellos
		client, server := net.Pipe()
		defer client.Close()
		done := start(t, func() (Result, error) {
			return n.pool.Tunnel(t.Context(), server, Client{}, hello)
		})
		answer := make([]byte, 1)
		if _, err := io.ReadFull(client, answer); err != nil || answer[0] != 22 {
			t.Errorf("the observer got %x, %v", answer, err)
		}
		if err := <-measured; err != nil {
			t.Error(err)
		}
		client.Close()
		if got := <-done; got.Domain != "a.example" {
			t.Errorf("%+v", got)
		}
		if only(n.pool).isProxy || loopWarnings(log) > 0 {
			t.Errorf("log %q", log)
		}
	})
}
