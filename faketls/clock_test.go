package faketls

import (
	"errors"
	"testing"
	"time"
)

func TestClockMayBeOffByTheWindowEitherWay(t *testing.T) {
	for _, c := range []struct {
		window, off time.Duration
		stale       bool
	}{
		{0, 0, false},
		{0, 120 * time.Second, false},
		{0, -120 * time.Second, false},
		{0, 121 * time.Second, true},
		{0, -121 * time.Second, true},
		{3 * time.Second, 3 * time.Second, false},
		{3 * time.Second, 4 * time.Second, true},
		{3 * time.Second, -4 * time.Second, true},
		{time.Hour, 121 * time.Second, false},
		{-1, 0, false},
		{-1, 1000 * time.Hour, false},
		{-1, -1000 * time.Hour, false},
	} {
		err := CheckClock(vectorTime, vectorTime.Add(-c.off), c.window)
		if c.stale != errors.Is(err, ErrStaleClock) || !c.stale && err != nil {
			t.Errorf("client ahead by %v, window %v: %v", c.off, c.window, err)
		}
	}
}

// The operator sees from the log which of the two clocks to set.
func TestStaleClockIsReportedWithItsOffset(t *testing.T) {
	err := CheckClock(vectorTime, vectorTime.Add(-time.Hour-time.Millisecond), 0)
	if want := "faketls: client clock is outside the window of 2m0s: client is ahead by 1h0m0s"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
