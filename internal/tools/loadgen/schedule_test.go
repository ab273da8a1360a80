package loadgen

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Calls are regular, those that a slow one delayed are made up for, and the schedule
// lasts until its end.
func TestScheduleCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var times []time.Duration
		err := at(t.Context(), time.Second, start.Add(5500*time.Millisecond), func() error {
			times = append(times, time.Since(start))
			if len(times) == 2 {
				time.Sleep(2500 * time.Millisecond)
			}
			return nil
		})
		want := []float64{0, 1, 3.5, 3.5, 4, 5}
		if err != nil || len(times) != len(want) || time.Since(start) != 5500*time.Millisecond {
			t.Fatal(times, err)
		}
		for i, at := range times {
			if at.Seconds() != want[i] {
				t.Errorf("call %d at %v, want %v s", i, at, want[i])
			}
		}
	})
}

// A schedule ends with its context, and returns the cause.
func TestScheduleEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(1500*time.Millisecond, func() { cancel(broken) })
		calls := 0
		err := at(ctx, time.Second, time.Now().Add(time.Hour), func() error { calls++; return nil })
		if err != broken || calls != 2 {
			t.Error(calls, err)
		}
	})
}

// A turn has at least one call, also if a busy machine comes to it late: without one
// there is no figure.
func TestScheduleBeginsAfterItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		err := at(t.Context(), time.Second, time.Now().Add(-time.Hour), func() error { calls++; return nil })
		if err != nil || calls != 1 {
			t.Errorf("%d calls, %v", calls, err)
		}
	})
}
