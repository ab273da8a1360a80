package loadgen

import (
	"context"
	"time"
)

// What one connection does in each phase, until end. Where data is moved, a
// piece of it is asked for or sent before the one in front of it is done, so
// that nothing waits for a round trip.

// chunk is how many packets are asked for at once: about 1 MiB.
func (c *Client) chunk() int { return max(1, 1<<20/c.length) }

// drain downloads, and returns how many packets came.
func (c *Client) drain(ctx context.Context, end time.Time) (packets int64, err error) {
	chunk := c.chunk()
	err = c.demand(ctx, chunk)
	for more := true; more && err == nil; packets += int64(chunk) {
		if more = time.Now().Before(end); more {
			if err = c.demand(ctx, chunk); err != nil {
				return packets, err
			}
		}
		err = c.take(ctx, chunk)
	}
	return packets, err
}

// flood uploads, and returns how many packets arrived.
func (c *Client) flood(ctx context.Context, end time.Time) (packets int64, err error) {
	chunk := c.chunk()
	expected, err := c.give(ctx, chunk)
	for more := true; more && err == nil; packets += int64(chunk) {
		next := expected
		if more = time.Now().Before(end); more {
			if next, err = c.give(ctx, chunk); err != nil {
				return packets, err
			}
		}
		err = c.confirmed(ctx, expected)
		expected = next
	}
	return packets, err
}

// pingPong makes echoes one after the other, and returns how long each took.
func (c *Client) pingPong(ctx context.Context, end time.Time) (took []time.Duration, err error) {
	for now := time.Now(); len(took) == 0 || now.Before(end); {
		if err := c.Echo(ctx); err != nil {
			return nil, err
		}
		then := now
		now = time.Now()
		took = append(took, now.Sub(then))
	}
	return took, nil
}

// reconnect makes connections one after the other, with one echo on each, and
// returns how many.
func (r *runner) reconnect(ctx context.Context, t *Target, end time.Time) (connections int64, err error) {
	for connections == 0 || time.Now().Before(end) {
		c, err := t.dial(ctx, 0, r.PacketSize)
		if err != nil {
			return connections, err
		}
		c.Close()
		connections++
	}
	return connections, nil
}
