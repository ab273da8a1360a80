package route

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
)

// An address that never replies delays a client by one attempt delay, not by the
// dial timeout, and the next client not at all.
func TestBlackHoleCostsOneAttemptDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{hole: map[string]bool{"a:1": true}}
		r := router(t, Config{DataCenters: at("a:1", "b:1"), DialContext: n.DialContext})
		if address, _, took := n.dial(t, r, 2); address != "b:1" || took != attemptDelay {
			t.Errorf("%s after %v", address, took)
		}
		if _, dialed, took := n.dial(t, r, 2); len(dialed) != 1 || took != 0 {
			t.Errorf("%v in %v", dialed, took)
		}
	})
}

// A slow attempt that wins does not count as a failure. The connections of the other
// attempts are closed.
func TestFirstToConnectWinsAndTheOthersAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{delay: map[string]time.Duration{"a:1": 500 * time.Millisecond, "b:1": 200 * time.Millisecond}}
		r := router(t, Config{DataCenters: at("a:1", "b:1", "c:1"), DialContext: n.DialContext})
		// Both connect at 500 ms. Either may win; the other one is closed.
		for range 20 {
			n.dial(t, r, 2)
			r = router(t, Config{DataCenters: at("a:1", "b:1", "c:1"), DialContext: n.DialContext})
		}
		n.delay["a:1"] = 400 * time.Millisecond
		for range 2 {
			if address, dialed, took := n.dial(t, r, 2); address != "a:1" || len(dialed) != 2 || took != 400*time.Millisecond {
				t.Errorf("%s of %v after %v", address, dialed, took)
			}
		}
		synctest.Wait()
		if n.open != 0 {
			t.Errorf("%d connections are open", n.open)
		}
	})
}

// An attempt that was not finished because a later one had connected is made again by Next: if
// the winner ends without an answer, its client is not lost.
func TestNextTriesASlowerAddressAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{delay: map[string]time.Duration{"a:1": time.Second}}
		r := router(t, Config{DataCenters: at("a:1", "b:1"), DialContext: n.DialContext})
		upstream := n.connect(t, r, 2, frame.Abridged)
		if upstream.Address != "b:1" {
			t.Fatalf("%s has won", upstream.Address)
		}
		next, err := upstream.Next(t.Context())
		if err != nil || next.Address != "a:1" {
			t.Fatalf("%+v, %v", next, err)
		}
		next.Close()
		if again, err := upstream.Next(t.Context()); err != errNoOther {
			t.Errorf("%+v, %v", again, err)
		}
	})
}

// With IPv6 preferred, IPv4 is tried at once on a host without IPv6, and after one
// attempt delay on a host whose IPv6 packets are lost.
func TestPreferredFamilyFallsBackToTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const six, four = "[2001:b28:f23d:f001::a]:443", "149.154.175.50:443"
		for _, n := range []*network{
			{dead: map[string]bool{six: true}},
			{hole: map[string]bool{six: true}},
		} {
			r := router(t, Config{Family: datacenter.PreferIPv6, DialContext: n.DialContext})
			_, dialed, took := n.dial(t, r, 1)
			expect(t, "at first", dialed, []string{six, four})
			if want := map[bool]time.Duration{true: attemptDelay}[n.hole[six]]; took != want {
				t.Errorf("it took %v, want %v", took, want)
			}
			_, dialed, _ = n.dial(t, r, 1)
			expect(t, "then", dialed, []string{four})
		}
		n := &network{}
		address, _, _ := n.dial(t, router(t, Config{Family: datacenter.PreferIPv6, DialContext: n.DialContext}), 1)
		if address != six {
			t.Errorf("with IPv6: %s", address)
		}
	})
}

// A Dial makes at most four attempts. If all fail, the error has each in one line,
// and the next Dial begins with the untried addresses, then with the one that failed
// longest ago.
func TestAttemptsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{hole: map[string]bool{}, dead: map[string]bool{"b:1": true}}
		addresses := []string{"a:1", "b:1", "c:1", "d:1", "e:1", "f:1"}
		for _, a := range addresses {
			n.hole[a] = !n.dead[a]
		}
		r := router(t, Config{DataCenters: at(addresses...), DialContext: n.DialContext})
		start := time.Now()
		_, err := r.Dial(t.Context(), Request{DC: -4, Protocol: frame.Abridged})
		// a; 300 ms later b, which refuses; c at once; 300 ms later d.
		if took := time.Since(start); took != DefaultDialTimeout+2*attemptDelay {
			t.Errorf("it took %v", took)
		}
		expect(t, "at first", n.dialed, addresses[:maxAttempts])
		want := "DC 4, media: b:1 (direct): connection refused; a:1 (direct): context deadline exceeded; " +
			"c:1 (direct): context deadline exceeded; d:1 (direct): context deadline exceeded"
		if err == nil || err.Error() != want {
			t.Errorf("%v", err)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v hides its causes", err)
		}
		n.dialed = nil
		r.Dial(t.Context(), Request{DC: -4, Protocol: frame.Abridged})
		expect(t, "then", n.dialed, []string{"e:1", "f:1", "b:1", "a:1"})
	})
}

// If its context ends, Dial returns at once, leaves no connection open, and counts no
// failures.
func TestCancelledDialReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{hole: map[string]bool{"a:1": true}, delay: map[string]time.Duration{"b:1": time.Second}}
		r := router(t, Config{DataCenters: at("a:1", "b:1"), DialContext: n.DialContext})
		gone := errors.New("the client is gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(700*time.Millisecond, func() { cancel(gone) })
		start := time.Now()
		_, err := r.Dial(ctx, Request{DC: 2, Protocol: frame.Abridged})
		if took := time.Since(start); took != 700*time.Millisecond || !errors.Is(err, gone) {
			t.Errorf("%v after %v", err, took)
		}
		if n.open != 0 {
			t.Errorf("%d connections are open", n.open)
		}
		delete(n.hole, "a:1")
		_, dialed, _ := n.dial(t, r, 2)
		expect(t, "afterwards", dialed, []string{"a:1"})
	})
}

// Concurrent Dials share the health; the race detector checks the accesses.
func TestRouterServesManyDialsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{hole: map[string]bool{"a:1": true}, dead: map[string]bool{"s:1": true}, delay: map[string]time.Duration{"b:1": 350 * time.Millisecond}}
		r := router(t, Config{
			DataCenters: at("a:1", "b:1", "c:1"), DialContext: n.DialContext,
			Upstreams: upstreams(t, "direct", "socks5://s:1"),
		})
		var all sync.WaitGroup
		// Each takes several goroutines. With more than 255 at once, a check of the race
		// detector's own fails now and then on a busy machine.
		const dials = 60
		failed := make(chan error, dials)
		for range dials {
			all.Go(func() {
				upstream, err := r.Dial(t.Context(), Request{DC: 2, Protocol: frame.Intermediate, Download: keyStream()})
				if err != nil {
					failed <- err
					return
				}
				upstream.Close()
			})
		}
		all.Wait()
		close(failed)
		for err := range failed {
			t.Error(err)
		}
		if n.open != 0 {
			t.Errorf("%d connections are open", n.open)
		}
	})
}
