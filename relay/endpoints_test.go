package relay

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
)

func newEndpoints(t *testing.T, urls ...string) *endpoints {
	t.Helper()
	e := &endpoints{log: slog.New(slog.DiscardHandler)}
	for _, url := range urls {
		ep := mtwire.Endpoint{Carrier: mtwire.WebSocket}
		if url != "wss" {
			var err error
			if ep, err = mtwire.ParseEndpoint(url); err != nil {
				t.Fatal(err)
			}
		}
		e.all = append(e.all, &endpoint{Endpoint: ep, name: name(ep), health: make(map[mtwire.DC]*health)})
	}
	return e
}

var errTest = errors.New("test")

// After its pause a server that has failed gets one client, and others when that one was
// answered; a failure doubles the pause.
func TestAServerThatHasFailedIsTriedByOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoints(t, "tcp://a.example:1", "tcp://b.example:1")
		a, b := e.all[0], e.all[1]
		take := func() *endpoint { return e.take(nil, 2, 10*time.Second) }
		for pause := shortestPause; pause < longestPause; pause *= 2 {
			e.failed(a, 2, errTest)
			e.failed(a, 2, errTest) // of another client
			time.Sleep(pause - time.Second)
			if take() != b {
				t.Fatalf("a server is tried %v after its failure", pause-time.Second)
			}
			time.Sleep(time.Second)
			if take() != a || take() != b || e.next(nil, 2) != b {
				t.Fatal("a server that has failed is not tried by one client")
			}
		}
		time.Sleep(10 * time.Second) // that client has left without a result
		if take() != a {
			t.Fatal("the next client does not try the server")
		}
		e.recovered(a, 2)
		if first, second := take(), take(); first != a || second != a {
			t.Error("a server that answers is avoided")
		}
	})
}

// A data centre's failure is not that of the others, of which the endpoint is all. A
// server's is.
func TestHealthIsThatOfADataCenter(t *testing.T) {
	e := newEndpoints(t, "wss", "tcp://b.example:1")
	wss, server := e.all[0], e.all[1]
	e.failed(wss, 2, errTest)
	if e.next(nil, 2) != server || e.next(nil, -2) != wss || e.next(nil, 4) != wss {
		t.Error("the health of data centres is not their own")
	}
	if wss.nameFor(-4) != "DC 4, media over websocket" || wss.nameFor(0) != "the data centre over websocket" {
		t.Errorf("%q, %q", wss.nameFor(-4), wss.nameFor(0))
	}
	e = newEndpoints(t, "tcp://b.example:1", "wss")
	e.failed(e.all[0], 2, errTest)
	if e.next(nil, 4) != e.all[1] {
		t.Error("a server that has failed for one data centre is preferred for another")
	}
}

// All servers that have failed are tried, the one whose pause ends first to begin with.
func TestAllServersHaveFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoints(t, "tcp://a.example:1", "tcp://b.example:1")
		a, b := e.all[0], e.all[1]
		e.failed(b, 0, errTest)
		time.Sleep(time.Second)
		e.failed(a, 0, errTest)
		if e.next(nil, 0) != b || e.next([]*endpoint{b}, 0) != a || e.next([]*endpoint{a, b}, 0) != nil {
			t.Error("wrong order")
		}
	})
}

// Clients go to the servers by their weights, evenly mixed, and those of one that has failed
// to the others by theirs.
func TestWeightsShareTheClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoints(t, "tcp://a.example:1", "tcp://b.example:1", "tcp://c.example:1")
		for i, weight := range []int{3, 1, 2} {
			e.all[i].weight = weight
		}
		run := func(clients int) (text string) {
			for range clients {
				text += e.take(nil, 2, time.Second).Address[:1]
			}
			return text
		}
		if got := run(12); got != "acabcaacabca" && got != "acbacaacbaca" {
			t.Errorf("clients go to %s", got)
		}
		e.failed(e.all[0], 2, errTest)
		if got := run(6); strings.Count(got, "c") != 4 || strings.Count(got, "b") != 2 {
			t.Errorf("after a failure, clients go to %s", got)
		}
		tried := []*endpoint{e.all[1], e.all[2]}
		if e.take(tried, 2, time.Second) != e.all[0] {
			t.Error("the only server that is left is not tried")
		}
	})
}
