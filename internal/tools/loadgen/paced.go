package loadgen

import (
	"context"
	"fmt"
	"time"
)

// PacedLoad is downloads that are held to a rate, such as films that are watched
// while they arrive. The zero value of a field is its default.
type PacedLoad struct {
	// Connections is the number of downloads. 0 is 100.
	Connections int
	// Rate is the speed of each, in bits a second. 0 is 2,000,000.
	Rate int64
	// Size is the length of a packet, in bytes; see CheckPacketSize. 0 is the
	// greatest up to 4 KiB.
	Size int
}

func (l *PacedLoad) setDefaults() {
	setDefault(&l.Connections, 100)
	setDefault(&l.Rate, 2_000_000)
	setDefault(&l.Size, RoundPacketSize(4<<10))
}

func (l *PacedLoad) check() error {
	if l.Connections < 0 || l.Rate < 0 {
		return fmt.Errorf("%d paced downloads of %d bits a second", l.Connections, l.Rate)
	}
	if err := CheckPacketSize(l.Size); err != nil {
		return fmt.Errorf("paced: %w", err)
	}
	if pace := l.pace(); pace < 1 || pace > maxPace {
		return fmt.Errorf("paced downloads of %d bits a second: a packet of %d bytes takes %v each: want at most %v",
			l.Rate, l.Size, pace, maxPace)
	}
	return nil
}

// pace returns the time from a packet of a download to its next.
func (l *PacedLoad) pace() time.Duration {
	return time.Duration(l.Size) * 8 * time.Second / time.Duration(l.Rate)
}

// pacedUntil downloads at the rate of the plan for about the duration of a turn, at
// least one packet, and returns the number of packets.
func (r *runner) pacedUntil(ctx context.Context, c *Client, end time.Time) (packets int64, err error) {
	if err := c.sendControl(ctx, kindPace, uint64(r.Paced.pace())); err != nil {
		return 0, err
	}
	n := max(1, int(time.Until(end)/r.Paced.pace()))
	return int64(n), c.Download(ctx, n)
}
