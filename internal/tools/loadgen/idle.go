package loadgen

import (
	"context"
	"fmt"
	"time"
)

// warmUp is the number of connections that are opened before the first reading of
// memory, so that the proxy's one-time allocations are not counted.
const warmUp = 16

// idle measures idle connections on each side.
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

// idleThrough holds idle connections through t and returns their cost. Each makes
// an echo before, so that its upstream connection exists, and an echo after, which
// verifies that the connection is still open.
func (r *runner) idleThrough(ctx context.Context, t *Target) (*Idle, error) {
	others := r.DataCenter.Open()
	warm, err := r.openWithin(ctx, t, warmUp, 0)
	if err != nil {
		return nil, err
	}
	defer closeAll(warm)
	before, err := r.settledMemory(ctx, t)
	if err != nil {
		return nil, err
	}
	clients, err := r.openWithin(ctx, t, r.Idle, warmUp)
	if err != nil {
		return nil, err
	}
	defer r.awaitClosed(ctx, others)
	defer closeAll(clients)
	after, err := r.settledMemory(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := r.echoAll(ctx, clients); err != nil {
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

// openWithin is open with a timeout that grows with n.
func (r *runner) openWithin(ctx context.Context, t *Target, n, first int) ([]*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout+time.Duration(n)*10*time.Millisecond)
	defer cancel()
	return r.open(ctx, t, n, first, r.PacketSize)
}

// settledMemory waits for the settle time and returns the memory of t, in bytes.
func (r *runner) settledMemory(ctx context.Context, t *Target) (int64, error) {
	select {
	case <-time.After(r.Settle):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return processes(t.Processes).memory()
}

// echoAll makes an echo on each connection.
func (r *runner) echoAll(ctx context.Context, clients []*Client) error {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout+time.Duration(len(clients))*10*time.Millisecond)
	defer cancel()
	for i, c := range clients {
		if err := c.Echo(ctx); err != nil {
			return fmt.Errorf("connection %d of %d, after having been idle: %w", i+1, len(clients), err)
		}
	}
	return nil
}

// awaitClosed waits until the proxy has closed its connections to the data centre,
// so that closing them does not disturb the next phase. It returns after the
// timeout if the proxy keeps such connections for later.
func (r *runner) awaitClosed(ctx context.Context, others int64) {
	timeout := time.After(r.Timeout)
	for r.DataCenter.Open() > others+warmUp {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-timeout:
			return
		case <-ctx.Done():
			return
		}
	}
}
