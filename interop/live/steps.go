package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// ErrNotHere is returned by a step that the software which it is about cannot do, with the
// cause. It is told, and is no failure.
var ErrNotHere = errors.New("not run")

// Steps runs steps one after the other, and prints what has become of each.
type Steps struct {
	Output io.Writer
	Only   string // a text in the names of the steps to run, besides those that Always runs
	failed []string
	passed int
	notRun int
}

// Run runs a step, unless Only leaves it out.
func (s *Steps) Run(ctx context.Context, name string, step func(context.Context) error) {
	if strings.Contains(name, s.Only) {
		s.Always(ctx, name, step)
	}
}

// Always runs a step that others need. It reports whether that has passed.
func (s *Steps) Always(ctx context.Context, name string, step func(context.Context) error) bool {
	if ctx.Err() != nil {
		return false
	}
	begun := time.Now()
	err := step(ctx)
	took := time.Since(begun).Round(100 * time.Millisecond)
	switch {
	case err == nil:
		s.passed++
		fmt.Fprintf(s.Output, "ok      %s (%v)\n", name, took)
	case errors.Is(err, ErrNotHere):
		s.notRun++
		fmt.Fprintf(s.Output, "-       %s: %v\n", name, err)
	default:
		s.failed = append(s.failed, name)
		fmt.Fprintf(s.Output, "FAILED  %s (%v): %v\n", name, took, err)
	}
	return err == nil
}

// Close prints the numbers. It returns an error if a step has failed, or none has passed.
func (s *Steps) Close() error {
	fmt.Fprintf(s.Output, "%d passed, %d failed, %d not run\n", s.passed, len(s.failed), s.notRun)
	switch {
	case len(s.failed) > 0:
		return fmt.Errorf("failed: %s", strings.Join(s.failed, "; "))
	case s.passed == 0:
		return errors.New("no step has passed")
	}
	return nil
}

// pollPause is the time between two looks at what a step waits for.
const pollPause = 20 * time.Millisecond

// Eventually waits until done returns nil, for up to limit, and returns its last error.
func Eventually(ctx context.Context, limit time.Duration, done func() error) error {
	end := time.Now().Add(limit)
	for {
		err := done()
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
		time.Sleep(pollPause)
	}
}
