package httpconn

import (
	"context"
	"net"
	"sync"
	"time"
)

// interruption makes the end of a context end the reads and writes of a
// connection, and keeps deadlines that are set meanwhile from undoing that.
type interruption struct {
	ctx  context.Context
	conn net.Conn
	stop func() bool
	done chan struct{}

	mu  sync.Mutex
	cut bool
}

func interrupt(ctx context.Context, conn net.Conn) *interruption {
	i := &interruption{ctx: ctx, conn: conn}
	if ctx.Done() == nil {
		return i
	}
	i.done = make(chan struct{})
	i.stop = context.AfterFunc(ctx, func() {
		i.mu.Lock()
		i.cut = true
		_ = conn.SetDeadline(time.Unix(1, 0))
		i.mu.Unlock()
		close(i.done)
	})
	return i
}

// arm sets a deadline for what follows; the zero time is none.
func (i *interruption) arm(t time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.cut {
		_ = i.conn.SetDeadline(t)
	}
}

// finish frees the connection of deadlines. It returns the context's error if
// that ended before.
func (i *interruption) finish() error {
	var cause error
	if i.stop != nil && !i.stop() {
		<-i.done
		cause = i.ctx.Err()
	}
	_ = i.conn.SetDeadline(time.Time{})
	return cause
}
