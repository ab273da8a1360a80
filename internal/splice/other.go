//go:build !linux

package splice

import "context"

// On other systems than Linux bytes are copied, and nothing is parked or
// watched.

func (d *direction) splice() error { return d.copy() }

func (d *direction) gather() error { return d.copy() }

// broken would wait for a reset of the source: it is noticed by the next write.
func (d *direction) broken() error { return nil }

// Lot is a place for directions that wait, on Linux. Elsewhere it has no room.
type Lot struct{}

// NewLot returns a Lot.
func NewLot() (*Lot, error) { return &Lot{}, nil }

// Serve waits for ctx to end.
func (l *Lot) Serve(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

type place struct{}

func (l *Lot) park(*direction) bool { return false }

func (l *Lot) forget(*direction) {}
