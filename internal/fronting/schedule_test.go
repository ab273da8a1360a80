package fronting

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A host is probed after a short random delay and then every few hours, and with
// back-off after a failure. While rounds fail, the last measurement stays.
func TestHostsAreMeasuredPeriodically(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	synctest.Test(t, func(t *testing.T) {
		var visits atomic.Int32
		var broken atomic.Bool
		p, log := inMemory(t, func(conn net.Conn) {
			visits.Add(1)
			if broken.Load() {
				return
			}
			serveTLS(conn, config)
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()

		if shapeFor(t, p, "a.example").DataSize != 0 {
			t.Error("a size is known before the first probe")
		}
		time.Sleep(maxFirstDelay + 2*flightGap)
		if shapeFor(t, p, "a.example").DataSize == 0 || visits.Load() != 1 {
			t.Errorf("no size is known after %d probes", visits.Load())
		}
		time.Sleep(time.Minute)
		first := shapeFor(t, p, "a.example").DataSize
		if first == 0 || visits.Load() != connectionsPerRound {
			t.Errorf("size %d after %d probes", first, visits.Load())
		}
		time.Sleep(roundInterval * 3 / 2)
		if visits.Load() != 2*connectionsPerRound {
			t.Errorf("%d probes after the second round", visits.Load())
		}

		broken.Store(true)
		visits.Store(0)
		time.Sleep(24 * time.Hour)
		if shapeFor(t, p, "a.example").DataSize != first {
			t.Error("failures remove the size")
		}
		// The interval doubles from 30 s and reaches 4 h after ten failures, then
		// there are six a day.
		if n := visits.Load(); n < 10 || n > 20 {
			t.Errorf("%d probes in a day of failures", n)
		}
		if n := strings.Count(log.String(), "could not be measured; check its name and its TLS, or set another with --front"); n != int(visits.Load()) {
			t.Errorf("%d warnings", n)
		}
		cancel()
		if err := <-done; err != context.Canceled {
			t.Error(err)
		}
	})
}

// Run returns when its context ends, and no earlier, also without hosts.
func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newPool(t, Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		if err := p.Run(ctx); err != context.DeadlineExceeded || time.Since(begin) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}
