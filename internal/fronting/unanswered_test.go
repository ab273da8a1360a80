package fronting

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// A probe that ends with its client's context has no verdict: other clients of
// the host are served meanwhile and afterwards.
func TestAbandonedProbeHasNoVerdict(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	synctest.Test(t, func(t *testing.T) {
		n, _ := newLoop(t)
		real := func(conn net.Conn) {
			time.Sleep(time.Second)
			serveTLS(conn, config)
		}
		n.real.Store(&real)
		for range minUnanswered {
			c, err := n.pool.Preconnect(t.Context(), Client{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		var opening sync.WaitGroup
		opening.Go(func() {
			if _, err := n.pool.Preconnect(short, Client{}, nil); err != context.DeadlineExceeded {
				t.Error(err)
			}
		})
		synctest.Wait()
		for range 2 { // during the probe, and after it
			c, err := n.pool.Preconnect(t.Context(), Client{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		opening.Wait()
	})
}

// A host that answers its probes may have any number of silent clients. They cost
// a few probes.
func TestHostThatAnswersMayHaveManySilentClients(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	synctest.Test(t, func(t *testing.T) {
		n, _ := newLoop(t)
		real := func(conn net.Conn) { serveTLS(conn, config) }
		n.real.Store(&real)
		var opening sync.WaitGroup
		all := make(chan *Preconnected, DefaultMaxPreconnected)
		for range DefaultMaxPreconnected {
			opening.Go(func() {
				c, err := n.pool.Preconnect(t.Context(), Client{}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				all <- c
			})
		}
		opening.Wait()
		if probes := int(n.dials.Load()) - len(all); probes < 1 || probes > 12 {
			t.Errorf("%d probes", probes)
		}
		for range len(all) {
			(<-all).Close()
		}
		if left := only(n.pool).unanswered; left != 0 {
			t.Errorf("%d connections are still counted", left)
		}
	})
}

// A host that never answers is not taken for a loop, and has a limited number of
// connections.
func TestSilentHostHasFewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := newLoop(t)
		real := func(conn net.Conn) { io.Copy(io.Discard, conn) }
		n.real.Store(&real)
		for range minUnanswered {
			c, err := n.pool.Preconnect(t.Context(), Client{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
		}
		for range 10 {
			if _, err := n.pool.Preconnect(t.Context(), Client{}, nil); !errors.Is(err, errSilent) {
				t.Error(err)
			}
		}
		if got := n.dials.Load(); got != minUnanswered+1 || loopWarnings(log) > 0 {
			t.Errorf("%d connections, log %q", got, log)
		}
	})
}

// A probe for which this machine has no descriptor is no verdict about the host: its clients are
// served as soon as there are descriptors again, and not after probeBackoff.
func TestWantOfDescriptorsDoesNotMakeAHostSilent(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	synctest.Test(t, func(t *testing.T) {
		n, _ := newLoop(t)
		real := func(conn net.Conn) { serveTLS(conn, config) }
		n.real.Store(&real)
		h := only(n.pool)
		h.unanswered = minUnanswered
		n.fail.Store(&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", netx.EMFILE)})
		for range 3 {
			if _, err := n.pool.Preconnect(t.Context(), Client{}, nil); !errors.Is(err, netx.EMFILE) {
				t.Errorf("without a descriptor: %v", err)
			}
		}
		n.fail.Store(nil)
		c, err := n.pool.Preconnect(t.Context(), Client{}, nil)
		if err != nil {
			t.Fatalf("with descriptors again: %v", err)
		}
		c.Close()
	})
}

// A kind of hello for whose measurement this machine has no descriptor is still a new one.
func TestKindThatCouldNotBeMeasuredIsNew(t *testing.T) {
	for _, local := range []bool{true, false} {
		n, _ := newLoop(t)
		err := netx.ECONNREFUSED
		if local {
			err = netx.EMFILE
		}
		n.fail.Store(&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", err)})
		hello, _ := browserHello("a.example")
		k := &kind{hello: hello}
		n.pool.measureKind(t.Context(), only(n.pool), k)
		if k.tried == local {
			t.Errorf("%v: it counts as measured: %v", err, k.tried)
		}
	}
}

// A connection stops counting when the host answers it.
func TestAnsweredConnectionsDoNotCount(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, echo("hello"))}}})
	for range 2 * minUnanswered {
		client, _ := tunneled(t, p)
		expect(t, client, "hello")
		for begin := time.Now(); unansweredOf(p) > 0; time.Sleep(time.Millisecond) {
			if time.Since(begin) > testTimeout {
				t.Fatal("an answered connection counts")
			}
		}
	}
}

func unansweredOf(p *Pool) int {
	h := only(p)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unanswered
}
