package drain

import (
	"testing"
	"time"
)

// After a look that is late, also the first one, sessions have the whole time again in which they
// are not idle.
func TestSessionsHaveTheirTimeAgainAfterALateLook(t *testing.T) {
	const tick = 250 * time.Millisecond
	now := time.Unix(1e9, 0)
	looks := NewLooks(now, tick)
	for _, stopped := range []time.Duration{2*tick + 1, 2 * time.Second, time.Hour} {
		now = now.Add(stopped)
		for late := now; now.Sub(late) < IdleTime; now = now.Add(tick) {
			if !looks.Late(now) {
				t.Errorf("%v after a stop of %v a session may be idle", now.Sub(late), stopped)
			}
		}
		for range 10 {
			if looks.Late(now) {
				t.Error("a look in time is late")
			}
			now = now.Add(2 * tick)
		}
	}
}
