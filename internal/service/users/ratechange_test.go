package users

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/proxy"
)

// paused runs sessions of alice that download as fast as their pauses allow, until stop
// is called. It returns what they have moved so far.
func paused(t *testing.T, p *Policy, sessions int) (moved *atomic.Int64, stop func()) {
	moved = new(atomic.Int64)
	var ended atomic.Bool
	var running sync.WaitGroup
	for range sessions {
		s := admitted(t, p, "alice", client)
		running.Go(func() {
			for !ended.Load() {
				moved.Add(16 << 10)
				time.Sleep(max(s.account.Delay(proxy.Download, 16<<10), time.Millisecond))
			}
			s.Close(nil)
		})
	}
	return moved, func() { ended.Store(true); running.Wait() }
}

// The rate of a user is taken away and set again, raised and lowered, while its sessions
// pause. Afterwards they have the rate that is in force, together, and those that end and
// begin meanwhile do no harm.
func TestTheRateIsChangedWhileSessionsPause(t *testing.T) {
	const limit = 64 << 10
	set := func(p *Policy, limits ...int64) {
		for _, limit := range limits {
			p.Set([]User{alice(Limits{RateDown: limit})})
			time.Sleep(20 * time.Millisecond)
			synctest.Wait()
		}
	}
	for name, changes := range map[string][]int64{
		"limit, none, limit": {limit, 0, limit},
		"twice":              {limit, 0, limit, 0, limit},
		"none twice":         {limit, 0, 0, limit},
		"up and down":        {limit, limit << 10, limit, limit / 4, limit},
		"begins with none":   {0, limit},
	} {
		running(t, func() *Policy { return newPolicy(alice(Limits{RateDown: changes[0]})) }, func(t *testing.T, p *Policy) {
			moved, stop := paused(t, p, 4)
			time.Sleep(2 * time.Second)
			_, endOthers := paused(t, p, 3)
			time.Sleep(time.Second)
			set(p, changes[:len(changes)-1]...)
			endOthers()
			set(p, changes[len(changes)-1])
			time.Sleep(10 * time.Second) // for what was moved before the first pause
			before := moved.Load()
			time.Sleep(100 * time.Second)
			if share := float64(moved.Load()-before) / (100 * limit); share < 0.97 || share > 1.03 {
				t.Errorf("%s: %.2f of the rate", name, share)
			}
			stop()
		})
	}
}

// Without a limit nothing pauses, and nothing is owed for it when there is a limit again.
func TestNothingIsOwedForTimeWithoutALimit(t *testing.T) {
	running(t, func() *Policy { return newPolicy(alice(Limits{RateDown: 1 << 10})) }, func(t *testing.T, p *Policy) {
		s := admitted(t, p, "alice", client)
		if pause := s.account.Delay(proxy.Download, 1<<30); pause != maxPause {
			t.Errorf("a pause of %v", pause)
		}
		p.Set([]User{alice(Limits{})})
		for range 10 {
			if pause := s.account.Delay(proxy.Download, 1<<30); pause != 0 {
				t.Errorf("a pause of %v without a limit", pause)
			}
		}
		p.Set([]User{alice(Limits{RateDown: 1 << 10})})
		if pause := s.account.Delay(proxy.Download, 1<<10); pause.Round(time.Millisecond) != time.Second {
			t.Errorf("a pause of %v for the bytes of a second", pause)
		}
		s.Close(nil)
	})
}
