package fronting

import (
	"context"
	"errors"
	"time"

	"github.com/mtwire/mtwire/internal/splice"
)

var errIdle = errors.New("no bytes in either direction for the idle timeout")

// idleChecks is how often within the idle timeout a tunnel's byte counts are
// compared.
const idleChecks = 4

// copyBothWays copies bytes until both directions have ended. It aborts them, and
// returns why, when ctx ends or when nothing has moved for the idle timeout or up
// to a quarter longer.
func (p *Pool) copyBothWays(ctx context.Context, toHost, toClient splice.Flow) (up, down splice.Result, aborted error) {
	tick := time.NewTicker(p.config.IdleTimeout / idleChecks)
	defer tick.Stop()
	ended := make(chan struct{})
	// With the zero splice.Config, a direction that is idle after the end of the
	// other one is cut off after a minute. The host's own system would not wait
	// longer.
	pair := splice.Start(toHost, toClient, &splice.Config{}, func(u, d splice.Result) {
		up, down = u, d
		close(ended)
	})
	last, unchanged := int64(0), 0
	for aborted == nil {
		select {
		case <-ended:
			return up, down, nil
		case <-ctx.Done():
			aborted = ctx.Err()
		case <-tick.C:
			u, d := pair.Moved()
			if unchanged++; u+d != last {
				last, unchanged = u+d, 0
			}
			if unchanged == idleChecks {
				aborted = errIdle
			}
		}
	}
	pair.Abort(aborted)
	<-ended
	return up, down, aborted
}
