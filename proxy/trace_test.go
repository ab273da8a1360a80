package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// recorder is a Trace that keeps the hooks and the stage of the session's report
// in each.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) add(hook string, report Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf("%s: %v", hook, report.Stage))
}

// take returns the events since the last call.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

func (r *recorder) trace() *Trace {
	return &Trace{
		SearchSkipped: func(s Session) { r.add("SearchSkipped", s.Report()) },
		Authenticated: func(s Session) { r.add("Authenticated", s.Report()) },
		Dialled:       func(s Session) { r.add("Dialled", s.Report()) },
		Stalled:       func(s Session, _ time.Duration) { r.add("Stalled", s.Report()) },
		Closed:        func(_ Session, last Report) { r.add("Closed", last) },
	}
}

// Each hook of each Trace is called at its stage, when the session's report shows
// it, and hooks and traces that are nil are not.
func TestHooksAreCalledInOrder(t *testing.T) {
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(1)}
	first, second := &recorder{}, &recorder{}
	config := Config{
		DataCenters: at("dc.test:443"), StallTimeout: time.Minute,
		Traces: []*Trace{nil, first.trace(), {}, second.trace(), nil},
	}
	for _, secret := range []string{mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			expect := func(when string, want ...string) {
				t.Helper()
				synctest.Wait()
				if got, other := first.take(), second.take(); !slices.Equal(got, want) || !slices.Equal(other, want) {
					t.Errorf("%s: %q, %q, want %q", when, got, other, want)
				}
			}
			client := b.connect()
			expect("a silent client")
			conn := b.joinOn(client, secret, 2)
			echo(t, conn, 3)
			expect("a packet", "Authenticated: authenticated", "Dialled: dialled")
			if err := conn.Send(b.ctx, payload(3)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			expect("no answer", "Stalled: first byte down")
			b.closeAll(errStopping)
			expect("the end", "Closed: first byte down")
			b.connect().Close()
			expect("a client that closes", "Closed: accepted")
		})
	}
}

// SearchSkipped is called once for a connection, also for one that is searched for
// as a FakeTLS hello and as an init payload.
func TestSkippedSearchIsTracedOnce(t *testing.T) {
	events := &recorder{}
	config := Config{Users: numberedUsers(0, 100, mtproxy.Plain, ""), Traces: []*Trace{events.trace()}}
	inBubble(t, config, nil, func(t *testing.T, b *bubble) {
		spendBudget(t, b.Proxy)
		for _, first := range [][]byte{make([]byte, 500), helloOf(t, [16]byte{}, "a.example")} {
			conn := b.connect()
			conn.Write(first)
			time.Sleep(5 * time.Second) // a search waits for two seconds
			conn.Close()
			synctest.Wait()
			want := []string{"SearchSkipped: client bytes", "Closed: client bytes"}
			if got := events.take(); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		}
	})
}

// Closed is the last hook of a session: it waits for Stalled.
func TestClosedWaitsForStalled(t *testing.T) {
	events := &recorder{}
	stalled, release := make(chan Session), make(chan struct{})
	near, far := net.Pipe()
	go io.Copy(io.Discard, far)
	address := start(t, Config{
		StallTimeout: 10 * time.Millisecond,
		DialContext:  func(context.Context, string, string) (net.Conn, error) { return near, nil },
		Traces: []*Trace{{Stalled: func(s Session, _ time.Duration) {
			stalled <- s
			<-release
		}}, events.trace()},
	})
	if err := dial(t, address, "secret="+mtwiretest.PaddedSecret).Send(short(t), payload(3)); err != nil {
		t.Fatal(err)
	}
	(<-stalled).Close(errStopping)
	time.Sleep(100 * time.Millisecond)
	close(release)
	var got []string
	eventually(t, "four hooks", func() bool {
		got = append(got, events.take()...)
		return len(got) == 4
	})
	want := []string{"Authenticated: authenticated", "Dialled: dialled", "Stalled: first byte up", "Closed: first byte up"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
