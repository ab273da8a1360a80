package faults_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/mtwire/mtwire/proxy"
)

// While a data centre refuses connections, the proxy closes its clients at once,
// and no others. When it accepts again, its clients are served.
func TestRefusingDataCenterEndsOnlyItsClients(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		tb := newTestbed(t, m, nil)
		other := tb.client(4)
		tb.upstream.refuse()
		for range 20 {
			if c, err := dial(testContext(t), m, tb.address, 2, nil); err == nil {
				c.Close()
				t.Fatal("a client of the refusing data centre was served")
			} else if errors.Is(err, context.DeadlineExceeded) {
				t.Fatal("the client's connection was not closed")
			}
		}
		if n := tb.proxy.Stats().Unreachable; n != 20 {
			t.Errorf("unreachable %d times, want 20", n)
		}
		exchange(t, other, 20)
		tb.upstream.accept(t)
		exchange(t, tb.client(2), 20)
	})
}

// When a data centre resets a connection in mid-stream, the proxy ends the
// client's connection, and no other. The data that arrived before is correct.
func TestResetOfADataCenterReachesItsClient(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		tb := newTestbed(t, m, nil)
		other := tb.client(4)
		wait := transferUntilReset(t, func() *loadgen.Client { return tb.client(2) })
		exchange(t, other, 1) // during the transfers
		tb.upstream.reset()
		wait()
		exchange(t, other, 20)
		exchange(t, tb.client(2), 20)
	})
}

// While a data centre does not respond, its clients wait, as they would without a
// proxy, and the proxy counts the stalls. Clients of others do not wait. When it
// responds again, the data in flight arrives.
func TestUnresponsiveDataCenterDelaysOnlyItsClients(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		tb := newTestbed(t, m, func(c *proxy.Config) { c.StallTimeout = 100 * time.Millisecond })
		other := tb.client(4)
		var waiting []*loadgen.Client
		for range 20 {
			waiting = append(waiting, tb.client(2))
		}
		tb.upstream.freeze()
		var running sync.WaitGroup
		for i, c := range waiting {
			running.Go(func() {
				var err error
				if i%2 == 0 {
					err = c.Download(testContext(t), 20)
				} else {
					err = c.Upload(testContext(t), 20)
				}
				if err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			})
		}
		exchange(t, other, 20)
		eventually(t, "the stalls are counted", func() bool { return tb.proxy.Stats().Stalls >= 20 })
		tb.upstream.thaw()
		running.Wait()
		// Clients may close their connections during a stall.
		tb.upstream.freeze()
		for _, c := range waiting {
			c.Close()
		}
		eventually(t, "the proxy closes the connections of those clients", func() bool { return tb.proxy.Stats().Open == 1 })
		exchange(t, other, 20)
	})
}
