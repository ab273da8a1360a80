package loadgen

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// ChurnLoad is connections that come and go: each makes the whole handshake and one
// echo, and is closed. The zero value of a field is its default.
type ChurnLoad struct {
	// Rate is the number of connections a second. 0 is 500.
	Rate int
}

func (l *ChurnLoad) setDefaults() { setDefault(&l.Rate, 500) }

func (l *ChurnLoad) check() error {
	if l.Rate < 0 || l.Rate > 1e6 {
		return fmt.Errorf("churn of %d connections a second: want 1 to 1000000", l.Rate)
	}
	return nil
}

// churnAtOnce is the number of connections of churn that are open concurrently.
// More means that the proxy does not keep up, and misses some.
const churnAtOnce = 256

// churnUntil opens and closes connections at the rate of the plan. Goroutines are
// started as connections overlap, and kept for the next ones.
func (r *runner) churnUntil(ctx context.Context, t *Target, end time.Time) (result turn, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	due := make(chan struct{})
	var mu sync.Mutex
	worker := func() {
		for range due {
			start := time.Now()
			c, err := t.dial(ctx, 0, r.PacketSize)
			if err != nil {
				cancel(err)
				return
			}
			took := time.Since(start)
			c.Close()
			mu.Lock()
			result.latency = append(result.latency, took)
			mu.Unlock()
		}
	}
	var workers sync.WaitGroup
	started := 0
	err = at(ctx, time.Second/time.Duration(r.Churn.Rate), end, func() error {
		select {
		case due <- struct{}{}:
			return nil
		default:
		}
		if started == churnAtOnce {
			result.missed++
			return nil
		}
		started++
		workers.Go(worker)
		select {
		case due <- struct{}{}:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(due)
	workers.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	result.count = int64(len(result.latency))
	return result, err
}
