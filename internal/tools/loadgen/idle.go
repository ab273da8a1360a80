package loadgen

import (
	"context"
	"fmt"
	"time"
)

// warmUp is how many connections are opened before memory is read for the first
// time, so that what a proxy makes once is not counted.
const warmUp = 16

func (r *runner) idle(ctx context.Context) error {
	sides := r.report.sides()
	for i, t := range r.targets() {
		result, err := r.idleThrough(ctx, t)
		if err != nil {
			return fmt.Errorf("through %s: %w", r.name(t), r.explain(err))
		}
		sides[i].Idle = result
	}
	return nil
}

// idleThrough holds connections that do nothing, and says what they cost. Each
// has made an echo before, so that the way to the data centre stands, and
// makes one after, so that it is known to stand still.
func (r *runner) idleThrough(ctx context.Context, t *Target) (*Idle, error) {
	others := r.DataCenter.Open()
	warm, err := r.openPatiently(ctx, t, warmUp, 0)
	if err != nil {
		return nil, err
	}
	defer closeAll(warm)
	before, err := r.settled(ctx, t)
	if err != nil {
		return nil, err
	}
	clients, err := r.openPatiently(ctx, t, r.Idle, warmUp)
	if err != nil {
		return nil, err
	}
	defer r.awaitClosed(ctx, others)
	defer closeAll(clients)
	after, err := r.settled(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := r.stillThere(ctx, clients); err != nil {
		return nil, err
	}
	result := &Idle{Connections: r.Idle}
	if len(t.Processes) > 0 {
		result.Memory = &IdleMemory{
			BeforeMiB:        float64(before) / (1 << 20),
			AfterMiB:         float64(after) / (1 << 20),
			KiBPerConnection: float64(after-before) / (1 << 10) / float64(r.Idle),
		}
	}
	return result, nil
}

// openPatiently is open with time for each connection.
func (r *runner) openPatiently(ctx context.Context, t *Target, n, first int) ([]*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Patience+time.Duration(n)*10*time.Millisecond)
	defer cancel()
	return r.open(ctx, t, n, first)
}

// settled waits, and reads a side's memory.
func (r *runner) settled(ctx context.Context, t *Target) (int64, error) {
	select {
	case <-time.After(r.Settle):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return processes(t.Processes).memory()
}

func (r *runner) stillThere(ctx context.Context, clients []*Client) error {
	ctx, cancel := context.WithTimeout(ctx, r.Patience+time.Duration(len(clients))*10*time.Millisecond)
	defer cancel()
	for i, c := range clients {
		if err := c.Echo(ctx); err != nil {
			return fmt.Errorf("connection %d of %d, after having been idle: %w", i+1, len(clients), err)
		}
	}
	return nil
}

// awaitClosed gives the proxy time to close what led to the data centre, so
// that the next phase has the machine to itself. A proxy that keeps such
// connections for later is not waited for beyond patience.
func (r *runner) awaitClosed(ctx context.Context, others int64) {
	give := time.After(r.Patience)
	for r.DataCenter.Open() > others+warmUp {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-give:
			return
		case <-ctx.Done():
			return
		}
	}
}
