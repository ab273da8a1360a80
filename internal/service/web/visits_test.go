package web

import (
	"context"
	"testing"
)

// One request of each connection is answered at any time, and further ones as long as all
// connections have few of them: what visitors have open does not grow with the requests
// that HTTP/2 carries.
func TestVisitorsShareTheFurtherRequests(t *testing.T) {
	const conns, most = 50, 20
	further := make(chan struct{}, most)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	var all []visits
	var leave []func()
	for range conns {
		v := newVisits()
		all = append(all, v)
		for range 3 * maxVisits {
			// Of an ended context and room, either may be taken, but for the first request.
			if end, ok := v.enter(over, further); ok {
				leave = append(leave, end)
			}
		}
		if len(v.first) != 1 {
			t.Error("a connection's only request waits")
		}
	}
	if n := len(leave); n <= conns || n > conns+most {
		t.Errorf("%d requests of %d connections at a time, want up to %d", n, conns, conns+most)
	}
	// A request that waits is answered when one of the same connection ends.
	for range most - len(further) {
		further <- struct{}{}
	}
	answered := make(chan func())
	go func() {
		end, _ := all[conns-1].enter(t.Context(), further)
		answered <- end
	}()
	<-all[conns-1].first
	(<-answered)()
}
