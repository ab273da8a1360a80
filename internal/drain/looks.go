package drain

import "time"

// Looks are the looks of one goroutine for idle sessions, each a tick after the one before. If one
// is late, the process was stopped, as with its whole container, or the machine is too busy: bytes
// that are on their way could not move. So no session is idle before looks have been in time for
// IdleTime again.
type Looks struct {
	tick       time.Duration
	last, late time.Time // the last look, and the last one that was late
}

// NewLooks returns the looks of a goroutine that begins with them at a time.
func NewLooks(begin time.Time, tick time.Duration) *Looks { return &Looks{tick: tick, last: begin} }

// Late notes a look, and reports whether it, or one in the IdleTime before it, was late by more
// than a tick. No session is to be closed then.
func (l *Looks) Late(now time.Time) bool {
	if now.Sub(l.last) > 2*l.tick {
		l.late = now
	}
	l.last = now
	return now.Sub(l.late) < IdleTime
}
