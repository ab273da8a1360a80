package fronting

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/mtwire/mtwire/internal/splice"
)

var errIdle = errors.New("nothing has moved for the idle time")

// checks is how often within the idle time a pair is looked at.
const checks = 4

// move moves bytes both ways until both directions have ended. It ends them
// with ctx, or when nothing has moved for the idle time or a little longer;
// then err says so. u ends with the first bytes from the host.
func (f *Front) move(ctx context.Context, client, upstream net.Conn, u *unheard) (up, down splice.Result, err error) {
	tick := time.NewTicker(f.config.Idle / checks)
	defer tick.Stop()
	ended := make(chan struct{})
	// A direction that stays silent after the other's end is cut off after
	// relay's minute. The host's own system would not wait longer.
	pair := splice.Start(
		splice.Flow{Dst: upstream, Src: client},
		splice.Flow{Dst: client, Src: upstream, Moved: func(int) { u.end() }},
		&splice.Config{}, func(u, d splice.Result) {
			up, down = u, d
			close(ended)
		})
	last, unchanged := int64(0), 0
	for err == nil {
		select {
		case <-ended:
			return up, down, nil
		case <-ctx.Done():
			err = ctx.Err()
		case <-tick.C:
			u, d := pair.Moved()
			if unchanged++; u+d != last {
				last, unchanged = u+d, 0
			}
			if unchanged == checks {
				err = errIdle
			}
		}
	}
	pair.Abort(err)
	<-ended
	return up, down, err
}
