package route

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/frame"
)

// inherited returns a router for config that takes the place of before.
func inherited(t *testing.T, before *Router, config Config) *Router {
	t.Helper()
	r := router(t, config)
	r.Inherit(before)
	return r
}

func mtproxyAt(host string) string {
	return "tg://proxy?server=" + host + "&port=1080&secret=000102030405060708090a0b0c0d0e0f"
}

// A router that takes the place of another one knows the failures of the upstreams and
// addresses that both have, whatever the weights are, and those that are found out later
// over connections of the one before.
func TestHealthOfUpstreamsThatStayIsInherited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{dead: map[string]bool{"s:1080": true, "a:1": true}}
		config := Config{DataCenters: at("a:1", "b:1"), Upstreams: upstreams(t, mtproxyAt("s"), "direct"), DialContext: n.DialContext}
		before := router(t, config)
		vias(t, before, 2) // both have failed
		config.Upstreams = upstreams(t, "direct?weight=2", mtproxyAt("s")+"&weight=5", mtproxyAt("other"))
		r := inherited(t, before, config)
		_, dialed, _ := n.dial(t, r, 2)
		expect(t, "what failed before is tried last", dialed, []string{"b:1"})
		if status := r.Upstreams(); !status[1].Failing || status[0].Failing || status[2].Failing || status[1].Weight != 5 {
			t.Errorf("%+v", status)
		}

		old, err := before.Dial(t.Context(), Request{DC: 2, Protocol: frame.Abridged})
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		old.Looped()
		if status := r.Upstreams(); !status[0].Failing {
			t.Errorf("a connection of the router before has come back: %+v", status)
		}
		time.Sleep(firstBackOff)
		delete(n.dead, "s:1080")
		delete(n.dead, "a:1")
		vias(t, r, 8)
		if status := before.Upstreams(); status[0].Failing {
			t.Errorf("what works again is known to the router before: %+v", status)
		}
	})
}

// A dial in progress ends on the upstreams and addresses that it began with.
func TestDialInProgressKeepsItsUpstreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{dead: map[string]bool{"a:1": true}, delay: map[string]time.Duration{"a:1": time.Minute, "b:1": time.Second}}
		before := router(t, Config{DataCenters: at("a:1", "b:1"), DialContext: n.DialContext})
		dialled := make(chan string)
		go func() {
			upstream, err := before.Dial(context.Background(), Request{DC: 2, Protocol: frame.Abridged})
			if err != nil {
				t.Error(err)
			}
			upstream.Close()
			dialled <- upstream.Address
		}()
		synctest.Wait()
		inherited(t, before, Config{DataCenters: at("c:1"), DialContext: n.DialContext})
		if address := <-dialled; address != "b:1" {
			t.Errorf("it is connected to %s", address)
		}
	})
}

// An upstream that is configured twice keeps the health of each, and addresses of many
// configurations are not remembered for ever.
func TestInheritedHealthIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		r := router(t, Config{Upstreams: upstreams(t, "direct", "direct"), DialContext: n.DialContext})
		for i := range 2 * maxInherited {
			r = inherited(t, r, Config{
				DataCenters: at(fmt.Sprintf("a:%d", i+1)), Upstreams: upstreams(t, "direct", "direct"), DialContext: n.DialContext,
			})
			vias(t, r, 2)
		}
		if r.upstreams[0].upstreamHealth == r.upstreams[1].upstreamHealth {
			t.Error("both have the health of one")
		}
		if size := len(r.upstreams[0].addressHealth); size > maxInherited+2 {
			t.Errorf("%d addresses are remembered", size)
		}
	})
}
