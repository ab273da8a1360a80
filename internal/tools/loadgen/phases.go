package loadgen

import (
	"context"
	"time"
)

// One connection's work in each phase, until end. Downloads and uploads are
// pipelined: the next chunk is requested or sent before the previous one has
// arrived, so that no time is lost to round trips.

// chunk returns the number of packets that are requested at once, about 1 MiB.
func (c *Client) chunk() int { return max(1, 1<<20/c.length) }

// downloadUntil downloads and returns the number of packets that arrived.
func (c *Client) downloadUntil(ctx context.Context, end time.Time) (packets int64, err error) {
	chunk := c.chunk()
	err = c.request(ctx, chunk)
	for more := true; more && err == nil; packets += int64(chunk) {
		if more = time.Now().Before(end); more {
			if err = c.request(ctx, chunk); err != nil {
				return packets, err
			}
		}
		err = c.receive(ctx, chunk)
	}
	return packets, err
}

// uploadUntil uploads and returns the number of packets that arrived.
func (c *Client) uploadUntil(ctx context.Context, end time.Time) (packets int64, err error) {
	chunk := c.chunk()
	expected, err := c.send(ctx, chunk)
	for more := true; more && err == nil; packets += int64(chunk) {
		next := expected
		if more = time.Now().Before(end); more {
			if next, err = c.send(ctx, chunk); err != nil {
				return packets, err
			}
		}
		err = c.awaitConfirmation(ctx, expected)
		expected = next
	}
	return packets, err
}

// echoUntil makes echoes one after the other, at least one, and returns the round
// trip time of each.
func (c *Client) echoUntil(ctx context.Context, end time.Time) (took []time.Duration, err error) {
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

// connectUntil opens and closes connections one after the other, at least one, with
// an echo on each, and returns their number.
func (r *runner) connectUntil(ctx context.Context, t *Target, end time.Time) (connections int64, err error) {
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
