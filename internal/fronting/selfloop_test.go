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

// translated is a network in which addresses say nothing. Whatever is dialled
// goes to the proxy in front of the host, until there is a real one.
type translated struct {
	front   *Pool
	ctx     context.Context
	running sync.WaitGroup
	dialled atomic.Int32
	real    atomic.Pointer[func(net.Conn)]
}

// loop is a proxy that its own host leads back to.
func loop(t *testing.T) (*translated, *lockedBuffer) {
	n := &translated{}
	p, log := newPool(t, Config{Hosts: []Host{{"a.example", ""}}, DialContext: n.dial})
	ctx, cancel := context.WithCancel(t.Context())
	n.front, n.ctx = p, ctx
	t.Cleanup(func() { cancel(); n.running.Wait() })
	return n, log
}

func (n *translated) dial(context.Context, string, string) (net.Conn, error) {
	n.dialled.Add(1)
	return n.visit(), nil
}

// visit is a connection to the address that the proxy and its host share.
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

// serve is what a proxy does with strangers.
func (n *translated) serve(conn net.Conn) {
	first := make([]byte, 4096)
	conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	read, err := conn.Read(first)
	conn.SetReadDeadline(time.Time{})
	if err == nil {
		n.front.Tunnel(n.ctx, conn, first[:read])
		return
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	e, err := n.front.Preconnect(n.ctx, nil)
	if err != nil {
		return
	}
	if e.Wait(n.ctx) == nil {
		e.Tunnel(n.ctx, conn, nil)
	}
	e.Close()
}

// loops is what the operator has been told of it.
func loops(log *lockedBuffer) int {
	return strings.Count(log.String(), `level=WARN msg="fronting host unreachable, unauthenticated clients get no answer" address=a.example:443 error="fronting host a.example `+errLoop.Error())
}

// "The proxy must not be fronted by itself", also behind an address that is
// not its own: a stranger costs a few connections, and then none.
func TestLoopBehindTranslationIsCutShort(t *testing.T) {
	for name, word := range map[string]string{"that speaks": "GET / HTTP/1.1\r\n\r\n", "that is silent": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, log := loop(t)
				stranger := n.visit()
				io.WriteString(stranger, word)
				expectEnd(t, stranger)
				synctest.Wait()
				if got := n.dialled.Load(); got > minUnanswered+1 {
					t.Errorf("%d connections for one stranger", got)
				}
				if !only(n.front).isProxy || loops(log) == 0 {
					t.Errorf("the operator reads %q", log)
				}
				n.running.Wait()

				// From then on each minute costs one probe.
				n.dialled.Store(0)
				before, begin := loops(log), time.Now()
				for range 100 {
					stranger := n.visit()
					io.WriteString(stranger, "hello")
					expectEnd(t, stranger)
				}
				minutes := int(time.Since(begin)/time.Minute) + 1
				if got := int(n.dialled.Load()); got > minutes {
					t.Errorf("%d connections in %d minutes", got, minutes)
				}
				if got := loops(log) - before; got > minutes {
					t.Errorf("%d complaints in %d minutes", got, minutes)
				}
			})
		})
	}
}

// Without a stranger the first measurement finds it out, and makes no loop of
// its own; and when the host is a real one, the next that hears from it does.
func TestLoopIsFoundByMeasuring(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	synctest.Test(t, func(t *testing.T) {
		n, log := loop(t)
		err := n.front.round(t.Context(), only(n.front))
		synctest.Wait()
		if !errors.Is(err, errLoop) || n.dialled.Load() != 1 || loops(log) != 1 {
			t.Fatalf("%v after %d connections; the operator reads %q", err, n.dialled.Load(), log)
		}
		if _, err := n.front.Preconnect(t.Context(), nil); !errors.Is(err, errLoop) || n.dialled.Load() != 1 {
			t.Errorf("a silent stranger: %v", err)
		}
		real := func(conn net.Conn) { serveTLS(conn, config) }
		n.real.Store(&real)
		if err := n.front.round(t.Context(), only(n.front)); err != nil {
			t.Fatal(err)
		}
		e, err := n.front.Preconnect(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		e.Close()
	})
}

// prefixed is a connection that delivers what was read from it once more.
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

// "An observer who replays a probe's hello must not be able to set the mark for
// a host that works", and sees that host.
func TestRepeatedProbeGetsTheHost(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	synctest.Test(t, func(t *testing.T) {
		n, log := loop(t)
		hellos := make(chan []byte, 10)
		real := func(conn net.Conn) {
			hello := make([]byte, 4096)
			read, _ := conn.Read(hello)
			hellos <- hello[:read]
			time.Sleep(time.Second) // it is a long way
			serveTLS(&prefixed{conn, hello[:read]}, config)
		}
		n.real.Store(&real)
		measured := make(chan error, 1)
		go func() {
			_, err := n.front.probe(t.Context(), only(n.front))
			measured <- err
		}()
		hello := <-hellos
		client, server := net.Pipe()
		defer client.Close()
		done := start(t, func() (Result, error) {
			return n.front.Tunnel(t.Context(), server, hello)
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
		if only(n.front).isProxy || loops(log) > 0 {
			t.Errorf("the operator reads %q", log)
		}
	})
}

// A stranger for whom a probe is made may be gone before its end. Nobody else
// suffers from that.
func TestProbeThatIsGivenUpSaysNothing(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	synctest.Test(t, func(t *testing.T) {
		n, _ := loop(t)
		real := func(conn net.Conn) {
			time.Sleep(time.Second)
			serveTLS(conn, config)
		}
		n.real.Store(&real)
		for range minUnanswered {
			e, err := n.front.Preconnect(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(e.Close)
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		var opening sync.WaitGroup
		opening.Go(func() {
			if _, err := n.front.Preconnect(impatient, nil); err != context.DeadlineExceeded {
				t.Error(err)
			}
		})
		synctest.Wait()
		for range 2 { // beside it, and after it
			e, err := n.front.Preconnect(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			e.Close()
		}
		opening.Wait()
	})
}

// Whoever is silent at a host that answers has as many companions as it likes,
// for a few probes.
func TestSilentStrangersOfAGoodHostAreMany(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	synctest.Test(t, func(t *testing.T) {
		n, _ := loop(t)
		real := func(conn net.Conn) { serveTLS(conn, config) }
		n.real.Store(&real)
		var opening sync.WaitGroup
		all := make(chan *Preconnected, DefaultMaxPreconnected)
		for range DefaultMaxPreconnected {
			opening.Go(func() {
				e, err := n.front.Preconnect(t.Context(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				all <- e
			})
		}
		opening.Wait()
		if probes := int(n.dialled.Load()) - len(all); probes < 1 || probes > 8 {
			t.Errorf("%d probes", probes)
		}
		for range len(all) {
			(<-all).Close()
		}
		if left := only(n.front).unanswered; left != 0 {
			t.Errorf("%d are counted for ever", left)
		}
	})
}

// A host that never says anything is not taken for a loop, and has few
// connections.
func TestMuteHostHasFewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := loop(t)
		real := func(conn net.Conn) { io.Copy(io.Discard, conn) }
		n.real.Store(&real)
		for range minUnanswered {
			e, err := n.front.Preconnect(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(e.Close)
		}
		for range 10 {
			if _, err := n.front.Preconnect(t.Context(), nil); !errors.Is(err, errSilent) {
				t.Error(err)
			}
		}
		if got := n.dialled.Load(); got != minUnanswered+1 || loops(log) > 0 {
			t.Errorf("%d connections, %s", got, log)
		}
	})
}

// What has been answered does not count.
func TestAnsweredStrangersAreMany(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", serve(t, echo("hello"))}}})
	for range 2 * minUnanswered {
		client, _ := tunneled(t, p)
		expect(t, client, "hello")
		for begin := time.Now(); unheardOf(p) > 0; time.Sleep(time.Millisecond) {
			if time.Since(begin) > patience {
				t.Fatal("an answer is not noticed")
			}
		}
	}
}

func unheardOf(p *Pool) int {
	h := only(p)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unanswered
}
