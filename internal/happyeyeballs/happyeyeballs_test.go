package happyeyeballs

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errDead = errors.New("dead")

// conn counts the connections that are open.
type conn struct {
	net.Conn
	open *atomic.Int32
}

func (c *conn) Close() error { c.open.Add(-1); return nil }

// Each case has the time that each attempt takes, a negative one if it fails then.
func TestDial(t *testing.T) {
	const delay = 300 * time.Millisecond
	never := time.Hour
	for name, c := range map[string]struct {
		attempts []time.Duration
		took     time.Duration
		index    int // -1: all failed
	}{
		"only one":         {[]time.Duration{2 * time.Second}, 2 * time.Second, 0},
		"the first":        {[]time.Duration{delay / 2, 0}, delay / 2, 0},
		"the second":       {[]time.Duration{never, time.Second}, delay + time.Second, 1},
		"failing at once":  {[]time.Duration{-1, -1, 0}, 2, 2},
		"late but first":   {[]time.Duration{2 * delay, never, never}, 2 * delay, 0},
		"all fail":         {[]time.Duration{-time.Second, -1, -1}, delay + 2, -1},
		"all but the last": {[]time.Duration{-never, -never, delay}, 3 * delay, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			var open atomic.Int32
			start := time.Now()
			got, index, errs := Dial(t.Context(), len(c.attempts), delay, func(ctx context.Context, i int) (net.Conn, error) {
				select {
				case <-time.After(c.attempts[i].Abs()):
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				if c.attempts[i] < 0 {
					return nil, errDead
				}
				open.Add(1)
				return &conn{open: &open}, nil
			})
			took := time.Since(start)
			if name == "all fail" {
				c.took = time.Second // of the slowest
			}
			if took != c.took || (got == nil) != (c.index < 0) || got != nil && index != c.index {
				t.Errorf("%s: %v, %d after %v; %v", name, got, index, took, errs)
			}
			if n := open.Load(); got != nil && n != 1 || got == nil && (len(errs) != len(c.attempts) || n != 0) {
				t.Errorf("%s: %d connections are open; %v", name, n, errs)
			}
		})
	}
}

// When ctx ends, no further attempt starts, and Dial waits for those that run.
func TestContextEndsAllAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		var started atomic.Int32
		_, _, errs := Dial(ctx, 9, 300*time.Millisecond, func(ctx context.Context, _ int) (net.Conn, error) {
			started.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if started.Load() != 2 || len(errs) != 2 {
			t.Errorf("%d attempts, %v", started.Load(), errs)
		}
	})
}
