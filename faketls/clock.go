package faketls

import (
	"fmt"
	"time"
)

// DefaultWindow is the largest difference between the clocks of client and server if
// the window is 0.
const DefaultWindow = 120 * time.Second

// CheckClock returns an error that wraps ErrStaleClock if clientTime, from
// [ClientHello.Match], differs from now by more than window in either direction.
// A window of 0 means DefaultWindow, a negative one accepts every clock.
//
// A window rejects clients with a wrong clock, and plain replays. A replay can have
// another time, because the time is not authenticated: see [ClientHello.Match].
func CheckClock(clientTime, now time.Time, window time.Duration) error {
	if window == 0 {
		window = DefaultWindow
	}
	if ahead := clientTime.Sub(now); window > 0 && ahead.Abs() > window {
		return fmt.Errorf("%w of %v: client is ahead by %v", ErrStaleClock, window, ahead.Truncate(time.Second))
	}
	return nil
}
