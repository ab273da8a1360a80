package admin

import (
	"context"
	"errors"
	"strings"
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

// A proxy is ready while it accepts and a data centre has sent something within a
// minute. Then nothing is asked.
func TestBytesOfADataCenterProveThatItIsThere(t *testing.T) {
	testReadiness(t, func(t *testing.T, r *readinessTest) {
		if err := r.Check(t.Context()); err != errNotAccepting {
			t.Error(err)
		}
		r.SetAccepting(true)
		r.heard = time.Now()
		time.Sleep(heardWithin - time.Second)
		if err := r.Check(t.Context()); err != nil || r.probes != 0 {
			t.Errorf("%v, %d probes", err, r.probes)
		}
		r.SetAccepting(false)
		if err := r.Check(t.Context()); err != errNotAccepting {
			t.Error(err)
		}
	})
}

// Without clients a data centre is asked, once for all requests and in 20 seconds, and
// the answer lasts until the next one.
func TestADataCenterIsAskedIfThereIsNoClient(t *testing.T) {
	testReadiness(t, func(t *testing.T, r *readinessTest) {
		r.SetAccepting(true)
		var requests sync.WaitGroup
		for range 10 {
			requests.Go(func() {
				if err := r.Check(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		requests.Wait()
		r.err = errors.New("refused")
		time.Sleep(probeInterval - 2*time.Second)
		if err := r.Check(t.Context()); err != nil || r.probes != 1 {
			t.Errorf("%v, %d probes", err, r.probes)
		}
		time.Sleep(2 * time.Second)
		for range 5 {
			if err := r.Check(t.Context()); !errors.Is(err, r.err) || !strings.Contains(err.Error(), "no data centre") || r.probes != 2 {
				t.Errorf("%v, %d probes", err, r.probes)
			}
		}
		r.mu.Lock()
		r.heard = time.Now() // a client has got through
		r.mu.Unlock()
		if err := r.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// The end of a request does not end the probe that others wait for, and Close does.
func TestRequestsDoNotEndTheProbe(t *testing.T) {
	testReadiness(t, func(t *testing.T, r *readinessTest) {
		r.SetAccepting(true)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Check(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := r.Check(t.Context()); err != nil || r.probes != 1 {
			t.Errorf("%v, %d probes", err, r.probes)
		}
		time.Sleep(time.Minute)
		go r.Check(t.Context())
		synctest.Wait()
		r.Close()
	})
}
