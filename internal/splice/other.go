//go:build !linux

package splice

import "context"

// On other systems than Linux bytes are copied, and nothing is parked or
// watched.

func (d *direction) splice() error { return d.copy() }

func (d *direction) readvCopy() error { return d.copy() }

// broken would wait for a reset of the source: it is noticed by the next write.
func (d *direction) waitReset() error { return nil }

// Poller is a place for directions that wait, on Linux. Elsewhere it has no room.
type Poller struct{}

// NewPoller returns a Poller.
func NewPoller() (*Poller, error) { return &Poller{}, nil }

// Serve waits for ctx to end.
func (l *Poller) Serve(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

type waiterID struct{}

func (l *Poller) park(*direction) bool { return false }

func (l *Poller) remove(*direction) {}
