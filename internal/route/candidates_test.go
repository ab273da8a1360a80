package route

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
)

// vias makes connections and counts them by Upstream.Via. sequence has the first
// letter of each upstream.
func vias(t *testing.T, r *Router, dials int) (sequence string, count map[string]int) {
	t.Helper()
	count = make(map[string]int)
	for range dials {
		upstream, err := r.Dial(t.Context(), Request{DC: 2, Protocol: frame.Abridged})
		if err != nil {
			t.Fatal(err)
		}
		upstream.Close()
		count[upstream.Via]++
		sequence += strings.TrimPrefix(upstream.Via, "mtproxy ")[:1]
	}
	return sequence, count
}

// count returns how often one is in all.
func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

// Upstreams share the connections by weight, interleaved.
func TestUpstreamsTakeTurnsByWeight(t *testing.T) {
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

// An address that refuses connections costs no time, and is tried last for ten
// seconds, then for twenty.
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
		dial("once it accepts", "a:1")
		dial("and again", "a:1")
		n.dead["a:1"] = true
		dial("once it refuses again", "a:1", "b:1")
		time.Sleep(firstBackOff)
		dial("ten seconds after that, since the success cleared its failures", "a:1", "b:1")
	})
}

// An upstream that refuses connections has a back-off of its own, and the same Dial
// succeeds through the next one.
func TestDeadUpstreamIsTriedLast(t *testing.T) {
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

// An upstream that never replies is tried last as well, whether it accepts
// connections or not.
func TestSilentUpstreamIsTriedLast(t *testing.T) {
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
			if tries > maxUpstreamFailures || time.Since(start) != time.Duration(tries)*upstreamAttemptDelay {
				t.Errorf("%d tries, %v", tries, time.Since(start))
			}
		})
	}
}

// An address that fails through every upstream does not count against an upstream.
func TestDeadAddressDoesNotCountAgainstItsUpstream(t *testing.T) {
	r := router(t, Config{DataCenters: at("a:1", "b:1"), Upstreams: upstreams(t, "direct", "socks5://s:1080")})
	for i := range 2 {
		o := r.order(location{addresses: r.config.DataCenters[0]}, answerKey{})
		c, _ := o.next()
		if c.address != "a:1" || (c.upstream.kind == kindDirect) != (i == 0) {
			t.Fatalf("attempt %d goes to %s via %v", i, c.address, c.upstream)
		}
		a := &attempt{candidate: c}
		a.reached.Store(true)
		r.recordFailure(a)
	}
	o := r.order(location{addresses: r.config.DataCenters[0]}, answerKey{})
	if c, _ := o.next(); c.address != "b:1" || c.upstream.kind != kindDirect {
		t.Errorf("the third attempt goes to %s via %v", c.address, c.upstream)
	}
	o = r.order(location{addresses: r.config.DataCenters[0]}, answerKey{})
	if c, _ := o.next(); c.address != "b:1" || c.upstream.kind != kindProxy {
		t.Errorf("the fourth attempt goes to %s via %v", c.address, c.upstream)
	}
}

// Health is kept for the addresses of the configuration and of the table, and for no
// others.
func TestHealthOfAddressesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		r := router(t, Config{Default: 2, DialContext: n.DialContext})
		for dc := -300; dc < 300; dc++ {
			n.dial(t, r, datacenter.DC(dc))
		}
		if size := len(r.upstreams[0].addressHealth); size > 200 {
			t.Errorf("%d addresses are remembered", size)
		}
	})
}
