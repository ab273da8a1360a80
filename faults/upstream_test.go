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

// "DC refuses": its clients are closed, soon, and nobody else is; when it is
// back, so are they.
func TestRefusingDataCenterEndsItsClientsOnly(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		w := newWorld(t, m, nil)
		other := w.client(4)
		w.upstream.refuse()
		for range 20 {
			if c, err := dial(limited(t), m, w.address, 2, nil); err == nil {
				c.Close()
				t.Fatal("a data centre answered that is not there")
			} else if errors.Is(err, context.DeadlineExceeded) {
				t.Fatal("the client was left to wait")
			}
		}
		if n := w.proxy.Stats().Unreachable; n != 20 {
			t.Errorf("unreachable %d times", n)
		}
		exchange(t, other, 20)
		w.upstream.accept(t)
		exchange(t, w.client(2), 20)
	})
}

// "resets mid-stream": what arrives until then is what was sent, the client
// hears of it, and nobody else does.
func TestResetOfADataCenterReachesItsClient(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		w := newWorld(t, m, nil)
		other := w.client(4)
		wait := breakOff(t, func() *loadgen.Client { return w.client(2) })
		exchange(t, other, 1) // while it all moves
		w.upstream.reset()
		wait()
		exchange(t, other, 20)
		exchange(t, w.client(2), 20)
	})
}

// "accepts and goes silent": its clients wait, as they would without a proxy,
// which counts it; others do not. What was under way arrives when it wakes up.
func TestSilentDataCenterHoldsUpNobodyElse(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		w := newWorld(t, m, func(c *proxy.Config) { c.StallTimeout = 100 * time.Millisecond })
		other := w.client(4)
		var waiting []*loadgen.Client
		for range 20 {
			waiting = append(waiting, w.client(2))
		}
		w.upstream.freeze()
		var running sync.WaitGroup
		for i, c := range waiting {
			running.Go(func() {
				var err error
				if i%2 == 0 {
					err = c.Download(limited(t), 20)
				} else {
					err = c.Upload(limited(t), 20)
				}
				if err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			})
		}
		exchange(t, other, 20)
		eventually(t, "the stalls are counted", func() bool { return w.proxy.Stats().Stalls >= 20 })
		w.upstream.thaw()
		running.Wait()
		// Some give up in the middle of the silence.
		w.upstream.freeze()
		for _, c := range waiting {
			c.Close()
		}
		eventually(t, "the proxy lets go of clients that gave up", func() bool { return w.proxy.Stats().Open == 1 })
		exchange(t, other, 20)
	})
}
