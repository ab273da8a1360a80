package admin

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// readinessTest is a Readiness of which the test sets what it finds.
type readinessTest struct {
	*Readiness
	mu     sync.Mutex
	heard  time.Time
	err    error
	probes int
}

func testReadiness(t *testing.T, test func(t *testing.T, r *readinessTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &readinessTest{}
		r.Readiness = NewReadiness(func() time.Time {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.heard
		}, func(ctx context.Context) error {
			r.mu.Lock()
			r.probes++
			err := r.err
			r.mu.Unlock()
			select {
			case <-time.After(time.Second):
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		defer r.Close()
		test(t, r)
	})
}

// set sets what the next probes find, and when a client has had bytes last.
func (r *readinessTest) set(heard time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard, r.err = heard, err
}

// check checks the result of Check, which takes no time, and the probes so far.
func (r *readinessTest) check(t *testing.T, want error, probes int) {
	t.Helper()
	synctest.Wait()
	before := time.Now()
	if err := r.Check(); !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	if took := time.Since(before); took != 0 {
		t.Errorf("it took %v", took)
	}
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.probes != probes {
		t.Errorf("%d probes, want %d", r.probes, probes)
	}
}

// A proxy is ready while it accepts and a data centre has sent something within a
// minute. While clients have bytes, nothing is asked.
func TestBytesOfADataCenterProveThatItIsThere(t *testing.T) {
	testReadiness(t, func(t *testing.T, r *readinessTest) {
		r.check(t, errNotAccepting, 0)
		r.SetAccepting(true)
		r.set(time.Now(), nil)
		time.Sleep(refreshAfter - time.Second)
		r.check(t, nil, 0)
		r.SetAccepting(false)
		r.check(t, errNotAccepting, 0)
	})
}

// If nothing is known, a data centre is asked, once for all requests, and no request waits
// for it. The answer counts for a minute.
func TestADataCenterIsAskedIfNothingIsKnown(t *testing.T) {
	testReadiness(t, func(t *testing.T, r *readinessTest) {
		r.SetAccepting(true)
		for range 10 {
			r.check(t, errAsking, 1)
		}
		time.Sleep(time.Second) // the data centre answers
		r.check(t, nil, 1)
		time.Sleep(heardWithin - time.Millisecond)
		r.check(t, nil, 2)
		time.Sleep(time.Second)
		r.check(t, nil, 2)
	})
}

// Checks every 20 seconds, of a proxy without a client, find it ready at all times.
func TestFrequentChecksAlwaysFindAnAnswer(t *testing.T) {
	testReadiness(t, func(t *testing.T, r *readinessTest) {
		r.SetAccepting(true)
		r.Probed(nil) // as the service does at its start
		for range 100 {
			time.Sleep(20 * time.Second)
			if err := r.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// While no data centre answers, one is asked every 20 seconds, and the reason is there. A
// client that has bytes proves more than a probe that failed before.
func TestAProbeThatFailsIsTheReason(t *testing.T) {
	refused := errors.New("refused")
	testReadiness(t, func(t *testing.T, r *readinessTest) {
		r.SetAccepting(true)
		r.set(time.Time{}, refused)
		r.check(t, errAsking, 1)
		time.Sleep(time.Second)
		for range 5 {
			r.check(t, refused, 1)
		}
		time.Sleep(probeInterval)
		r.check(t, refused, 2)
		r.set(time.Now(), refused)
		time.Sleep(time.Second)
		r.check(t, nil, 2) // although the second probe has failed since
		time.Sleep(2 * heardWithin)
		r.check(t, refused, 3)
		time.Sleep(time.Second)
		r.check(t, refused, 3)
	})
}

// Close ends the probe that runs, and none begins afterwards.
func TestCloseEndsTheProbe(t *testing.T) {
	testReadiness(t, func(t *testing.T, r *readinessTest) {
		r.SetAccepting(true)
		r.check(t, errAsking, 1)
		before := time.Now()
		r.Close()
		if took := time.Since(before); took != 0 {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Hour)
		r.Check()
		if r.probes != 1 {
			t.Error("a probe has begun after Close")
		}
	})
}

// Checks every 30 seconds, a little late as they are, find an answer, however fast the
// data centre was.
func TestChecksEveryHalfMinuteAlwaysFindAnAnswer(t *testing.T) {
	testReadiness(t, func(t *testing.T, r *readinessTest) {
		r.SetAccepting(true)
		r.Probed(nil)
		for n := range 20 {
			time.Sleep(30*time.Second + time.Duration(n%2)*10*time.Millisecond - 5*time.Millisecond)
			if err := r.Check(); err != nil {
				t.Errorf("check %d: %v", n, err)
			}
		}
		for range 20 {
			time.Sleep(30*time.Second + 700*time.Millisecond) // the answer took a second
			if err := r.Check(); err != nil {
				t.Error(err)
			}
		}
	})
}
