package route

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/frame"
)

// carry makes to know the findings of from, as JSON.
func carry(t *testing.T, from, to *Router) {
	t.Helper()
	for f := range from.Findings() {
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var again Finding
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatal(err)
		}
		to.Add(again)
	}
}

// A router that is given the findings of another one knows the failures of the upstreams that
// both have, for as long as that one would, whatever the weights are.
func TestFindingsAreCarriedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{dead: map[string]bool{"s:1080": true, "a:1": true}}
		config := Config{DataCenters: at("a:1", "b:1"), Upstreams: upstreams(t, mtproxyAt("s"), "direct"), DialContext: n.DialContext}
		before := router(t, config)
		vias(t, before, 2) // both have failed
		config.Upstreams = upstreams(t, "direct?weight=2", mtproxyAt("s")+"&weight=5", mtproxyAt("other"))
		r := router(t, config)
		carry(t, before, r)
		_, dialed, _ := n.dial(t, r, 2)
		expect(t, "what failed before is tried last", dialed, []string{"b:1"})
		if status := r.Upstreams(); !status[1].Failing || status[0].Failing || status[2].Failing || status[1].Weight != 5 {
			t.Errorf("%+v", status)
		}
		time.Sleep(firstBackOff)
		if status := r.Upstreams(); status[1].Failing {
			t.Errorf("the back-off does not end: %+v", status)
		}
	})
}

// What was found out about answers, loops and framings is carried over as well, and again from
// there; a back-off has no other length afterwards.
func TestFindingsAboutAnswersAreCarriedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		config := Config{DataCenters: at("a:1", "b:1"), Upstreams: upstreams(t, mtproxyAt("s"), "direct"), DialContext: n.DialContext}
		first := router(t, config)
		for range 2 * maxUpstreamFailures {
			u, err := first.Dial(t.Context(), Request{DC: 2, Protocol: frame.PaddedIntermediate})
			if err != nil {
				t.Fatal(err)
			}
			u.Unanswered()
			u.Looped()
			u.Close()
		}
		first.mu.Lock()
		first.upstreams[0].paddedOnly = true
		first.mu.Unlock()
		second, third := router(t, config), router(t, config)
		carry(t, first, second)
		time.Sleep(time.Second)
		carry(t, second, third)
		for i, u := range first.upstreams {
			other := third.upstreams[i]
			if other.paddedOnly != u.paddedOnly || !other.loops.until.Equal(u.loops.until) || other.loops.failures != u.loops.failures {
				t.Errorf("%+v, want %+v", other.upstreamHealth, u.upstreamHealth)
			}
			if len(u.answers) == 0 || len(other.answers) != len(u.answers) {
				t.Errorf("%d findings about answers, want %d", len(other.answers), len(u.answers))
			}
			for key, h := range u.answers {
				if o := other.answers[key]; o == nil || o.inRow != h.inRow || !o.until.Equal(h.until) || o.failures != h.failures {
					t.Errorf("%+v: %+v, want %+v", key, o, h)
				}
			}
		}
	})
}

// What another process may send has bounds.
func TestFindingsHaveBounds(t *testing.T) {
	r := router(t, Config{DataCenters: at("a:1")})
	id := r.upstreams[0].id()
	for i := range 2 * maxAnswers {
		address := string(rune('a'+i%26)) + time.Duration(i).String()
		r.Add(Finding{Upstream: id, Address: address, Health: Health{Failures: 1, Until: 1 << 60}})
		r.Add(Finding{Upstream: id, Address: address, Answers: true, Health: Health{Failures: 1}})
		r.Add(Finding{Upstream: "other", Address: address})
	}
	u := r.upstreams[0]
	if len(u.addressHealth) > maxInherited || len(u.answers) > maxAnswers {
		t.Errorf("%d addresses, %d answers", len(u.addressHealth), len(u.answers))
	}
	for address, h := range u.addressHealth {
		if h.failing(time.Now().Add(maxBackOff)) {
			t.Errorf("%s is avoided for longer than %v", address, maxBackOff)
		}
	}
}
