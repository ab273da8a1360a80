package loadgen

import (
	"context"
	"time"
)

// at calls f at the regular times of a schedule, the first of them now even if end has
// passed, and returns at end or after an error. It catches up on calls that are late, so that their
// number does not depend on how long f takes.
func at(ctx context.Context, interval time.Duration, end time.Time, f func() error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	wait := func(until time.Time) error {
		if early := time.Until(until); early > 0 {
			timer.Reset(early)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return nil
	}
	for due := time.Now(); ; {
		if err := wait(due); err != nil {
			return err
		}
		if err := f(); err != nil {
			return err
		}
		if due = due.Add(interval); !due.Before(end) {
			return wait(end)
		}
	}
}
