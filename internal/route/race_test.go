package route

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/obfuscation"
)

// network is a network on which each address behaves in its own way: it
// connects after a while, or it does not. Inside synctest that takes no time,
// and a goroutine that Dial leaves behind fails the test.
type network struct {
	mu     sync.Mutex
	delay  map[string]time.Duration // until it connects; unknown: at once
	dead   map[string]bool          // it refuses
	hole   map[string]bool          // it never answers
	dialed []string
	open   int // connections that nobody closed
}

func (n *network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, address)
	dead, hole, delay := n.dead[address], n.hole[address], n.delay[address]
	n.mu.Unlock()
	if hole {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if dead {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	near, _ := net.Pipe()
	n.mu.Lock()
	n.open++
	n.mu.Unlock()
	return &counted{Conn: near, network: n}, nil
}

// counted tells its network that it was closed.
type counted struct {
	net.Conn
	network *network
	once    sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.network.mu.Lock()
		c.network.open--
		c.network.mu.Unlock()
	})
	return c.Conn.Close()
}

// dial makes one connection and closes it. It returns where to, what was
// dialled on the way, and how long it took.
func (n *network) dial(t *testing.T, r *Router, dc datacenter.DC) (address string, dialed []string, took time.Duration) {
	t.Helper()
	n.dialed = nil
	start := time.Now()
	leg, err := r.Dial(t.Context(), dc, frame.Abridged, nil)
	took = time.Since(start)
	if err != nil {
		t.Fatal(err)
	}
	if n.open != 1 {
		t.Errorf("%d connections are open", n.open)
	}
	leg.Conn.Close()
	return leg.Address, n.dialed, took
}

func expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// "several addresses with fail-over": what refuses costs no time, and is tried
// last for ten seconds, then for twenty.
func TestDeadAddressIsTriedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{dead: map[string]bool{"a:1": true}}
		r := router(t, Config{DataCenters: at("a:1", "b:1", "c:1"), DialContext: n.DialContext})
		dial := func(what string, want ...string) {
			t.Helper()
			_, dialed, took := n.dial(t, r, 2)
			expect(t, what, dialed, want)
			if took != 0 {
				t.Errorf("%s: it took %v", what, took)
			}
		}
		dial("at first", "a:1", "b:1")
		dial("afterwards", "b:1")
		time.Sleep(firstBackOff - time.Nanosecond)
		dial("nearly ten seconds later", "b:1")
		time.Sleep(time.Nanosecond)
		dial("ten seconds later", "a:1", "b:1")
		time.Sleep(2*firstBackOff - time.Nanosecond)
		dial("nearly twenty seconds later", "b:1")
		time.Sleep(time.Nanosecond)
		delete(n.dead, "a:1")
		dial("once it is back", "a:1")
		dial("and again", "a:1")
		n.dead["a:1"] = true
		dial("dead again", "a:1", "b:1")
		time.Sleep(firstBackOff)
		dial("and its past is forgotten", "a:1", "b:1")
	})
}

// "a blackholed address costs a client 300 ms and not 5 s", and the next
// client nothing.
func TestBlackHoleCostsOneHeadStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{hole: map[string]bool{"a:1": true}}
		r := router(t, Config{DataCenters: at("a:1", "b:1"), DialContext: n.DialContext})
		if address, _, took := n.dial(t, r, 2); address != "b:1" || took != headStart {
			t.Errorf("%s after %v", address, took)
		}
		if _, dialed, took := n.dial(t, r, 2); len(dialed) != 1 || took != 0 {
			t.Errorf("%v in %v", dialed, took)
		}
	})
}

// Whoever is slow but first is not to blame, and who comes too late is closed.
func TestFirstToConnectWinsAndTheOthersAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{delay: map[string]time.Duration{"a:1": 500 * time.Millisecond, "b:1": 200 * time.Millisecond}}
		r := router(t, Config{DataCenters: at("a:1", "b:1", "c:1"), DialContext: n.DialContext})
		// Both connect at 500 ms; whoever is taken, the other one is closed.
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

// "IPv6 preference with fallback": a host without IPv6 is told so at once, and
// one whose IPv6 leads nowhere waits once.
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
			if want := map[bool]time.Duration{true: headStart}[n.hole[six]]; took != want {
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

// "at most 3-4 attempts per Dial, total bounded", and when all fail, the one
// that failed longest ago comes first the next time. One line says it all.
func TestAttemptsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{hole: map[string]bool{}, dead: map[string]bool{"b:1": true}}
		addresses := []string{"a:1", "b:1", "c:1", "d:1", "e:1", "f:1"}
		for _, a := range addresses {
			n.hole[a] = !n.dead[a]
		}
		r := router(t, Config{DataCenters: at(addresses...), DialContext: n.DialContext})
		start := time.Now()
		_, err := r.Dial(t.Context(), -4, frame.Abridged, nil)
		// a; b 300 ms later, which refuses; c at once; d 300 ms later.
		if took := time.Since(start); took != DefaultDialTimeout+2*headStart {
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
		r.Dial(t.Context(), -4, frame.Abridged, nil)
		expect(t, "then", n.dialed, []string{"e:1", "f:1", "b:1", "a:1"})
	})
}

// "ctx cancellation mid-dial returns at once", nothing is left behind, and
// nobody is to blame.
func TestCancelledDialReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{hole: map[string]bool{"a:1": true}, delay: map[string]time.Duration{"b:1": time.Second}}
		r := router(t, Config{DataCenters: at("a:1", "b:1"), DialContext: n.DialContext})
		gone := errors.New("the client is gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(700*time.Millisecond, func() { cancel(gone) })
		start := time.Now()
		_, err := r.Dial(ctx, 2, frame.Abridged, nil)
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

// Full has no tag that could tell a data centre of it.
func TestFullIsRefusedBeforeAnybodyIsDialled(t *testing.T) {
	n := &network{}
	r := router(t, Config{DialContext: n.DialContext})
	if _, err := r.Dial(t.Context(), 2, frame.Full, nil); !errors.Is(err, obfuscation.ErrFull) || n.dialed != nil {
		t.Errorf("%v, %v", err, n.dialed)
	}
}

// vias counts by which way connections went.
func vias(t *testing.T, r *Router, dials int) (sequence string, count map[string]int) {
	t.Helper()
	count = make(map[string]int)
	for range dials {
		leg, err := r.Dial(t.Context(), 2, frame.Abridged, nil)
		if err != nil {
			t.Fatal(err)
		}
		leg.Conn.Close()
		count[leg.Via]++
		sequence += strings.TrimPrefix(leg.Via, "mtproxy ")[:1]
	}
	return sequence, count
}

// "several with weights", in turns and not in runs.
func TestWaysTakeTurnsByWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		r := router(t, Config{
			Upstreams: upstreams(t, "direct?weight=3",
				"tg://proxy?server=x&port=1&secret=000102030405060708090a0b0c0d0e0f",
				"tg://proxy?server=y&port=1&secret=000102030405060708090a0b0c0d0e0f&weight=2"),
			DialContext: n.DialContext,
		})
		if sequence, _ := vias(t, r, 12); sequence != "dyddxy"+"dyddxy" && sequence != "dydxyd"+"dydxyd" {
			t.Errorf("%s", sequence)
		}
		if _, count := vias(t, r, 600); count["direct"] != 300 {
			t.Errorf("%v", count)
		}
	})
}

// "an upstream that fails is put behind with its own back-off and the next is
// tried in the same Dial": no client notices, and the others take its part.
func TestDeadUpstreamIsPutBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{dead: map[string]bool{"s:1080": true}}
		r := router(t, Config{
			Upstreams: upstreams(t, "socks5://s:1080", "direct"), DialContext: n.DialContext,
		})
		vias(t, r, 100)
		if tries := count(n.dialed, "s:1080"); tries != 1 {
			t.Errorf("%d tries", tries)
		}
		time.Sleep(firstBackOff)
		vias(t, r, 100)
		time.Sleep(firstBackOff)
		vias(t, r, 100)
		if tries := count(n.dialed, "s:1080"); tries != 2 {
			t.Errorf("%d tries after the first back-off", tries)
		}
	})
}

// An upstream that swallows everything is found out as well, whether it is the
// connection to it or what is behind it.
func TestSilentUpstreamIsPutBehind(t *testing.T) {
	for _, n := range []*network{{hole: map[string]bool{"s:1080": true}}, {}} {
		synctest.Test(t, func(t *testing.T) {
			r := router(t, Config{
				DataCenters: at("a:1", "b:1"),
				Upstreams:   upstreams(t, "socks5://s:1080", "direct"), DialContext: n.DialContext,
			})
			start := time.Now()
			if _, count := vias(t, r, 100); count["direct"] != 100 {
				t.Errorf("%v", count)
			}
			tries := count(n.dialed, "s:1080")
			if tries > failuresOfWay || time.Since(start) != time.Duration(tries)*headStartVia {
				t.Errorf("%d tries, %v", tries, time.Since(start))
			}
		})
	}
}

// An address that is dead for all costs no upstream its place.
func TestDeadAddressIsNotItsUpstreamsFault(t *testing.T) {
	r := router(t, Config{DataCenters: at("a:1", "b:1"), Upstreams: upstreams(t, "direct", "socks5://s:1080")})
	for i := range 2 {
		c := r.choose(r.config.DataCenters[0])
		p, _ := c.next()
		if p.address != "a:1" || (p.way.kind == direct) != (i == 0) {
			t.Fatalf("attempt %d goes to %s by %v", i, p.address, p.way)
		}
		a := &attempt{path: p}
		a.reached.Store(true)
		r.failed(a)
	}
	c := r.choose(r.config.DataCenters[0])
	if p, _ := c.next(); p.address != "b:1" || p.way.kind != direct {
		t.Errorf("then it goes to %s by %v", p.address, p.way)
	}
	c = r.choose(r.config.DataCenters[0])
	if p, _ := c.next(); p.address != "b:1" || p.way.kind != socks5 {
		t.Errorf("and then to %s by %v", p.address, p.way)
	}
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

// "back-off doubling, e.g. 10 s to 5 min"; one outage counts once.
func TestBackOffDoublesUpToFiveMinutes(t *testing.T) {
	var h health
	now := time.Unix(1e9, 0)
	for i, want := range []int{10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300, 300} {
		for range 50 {
			h.fail(now)
		}
		until := now.Add(time.Duration(want) * time.Second)
		if !h.failing(until.Add(-1)) || h.failing(until) {
			t.Fatalf("failure %d: %v, want %d s", i+1, h.until.Sub(now), want)
		}
		now = until
	}
	h.fail(now)
	h.succeed()
	if h.failing(now) || h != (health{}) {
		t.Error("a success does not clear it")
	}
}

// The memory holds what the configuration and the table name, and no more.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		r := router(t, Config{Default: 2, DialContext: n.DialContext})
		for dc := -300; dc < 300; dc++ {
			n.dial(t, r, datacenter.DC(dc))
		}
		if size := len(r.ways[0].behind); size > 200 {
			t.Errorf("%d addresses are remembered", size)
		}
	})
}

// Concurrent Dials share the memory; the race detector looks on.
func TestRouterServesManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{hole: map[string]bool{"a:1": true}, dead: map[string]bool{"s:1": true}, delay: map[string]time.Duration{"b:1": 350 * time.Millisecond}}
		r := router(t, Config{
			DataCenters: at("a:1", "b:1", "c:1"), DialContext: n.DialContext,
			Upstreams: upstreams(t, "direct", "socks5://s:1"),
		})
		var all sync.WaitGroup
		failed := make(chan error, 200)
		for range 200 {
			all.Go(func() {
				leg, err := r.Dial(t.Context(), 2, frame.Intermediate, keyStream())
				if err != nil {
					failed <- err
					return
				}
				leg.Conn.Close()
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
