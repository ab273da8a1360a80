package proxy

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtwiretest"
)

// "A stall is counted and logged with DC and address, Warn when nothing ever
// came down": once for each session.
func TestStallIsToldOnce(t *testing.T) {
	for _, c := range []struct {
		answers int
		level   string
		stage   string
	}{
		{0, "WARN", `"first byte up"`},
		{1, "INFO", `"first byte down"`},
	} {
		hosts := map[string]func(net.Conn){"dc.test:443": echoing(c.answers)}
		config := Config{DataCenters: map[datacenter.DC][]string{4: {"dc.test:443"}}, StallTimeout: 10 * time.Second}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			conn := b.join(mtwiretest.PaddedSecret)
			defer conn.Close()
			for range c.answers {
				echo(t, conn, 3)
			}
			time.Sleep(minSilence - time.Second) // longer it may not say nothing
			if n := b.Stats().Stalls; n != 0 {
				t.Errorf("%d stalls while nothing was owed", n)
			}
			for i := range 2 {
				if err := conn.Send(b.ctx, payload(3)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(9 * time.Second)
				if n := int(b.Stats().Stalls); n != i {
					t.Errorf("%d stalls after nine seconds, with %d before", n, i)
				}
				time.Sleep(2 * time.Second)
				if n := int(b.Stats().Stalls); n != 1 {
					t.Errorf("%d stalls after eleven seconds, with %d before", n, i)
				}
				time.Sleep(time.Hour)
			}
			lines := b.log.lines("stalled")
			want := "level=" + c.level + ` msg="stalled: bytes went up and none came down" dc=4 address=dc.test:443 via=direct stage=` + c.stage + " waited=10s"
			if len(lines) != 1 || lines[0] != want {
				t.Errorf("%s\nwant %s", strings.Join(lines, "\n"), want)
			}
		})
	}
}

// A data centre that answers, a client that is gone, and a timeout that is
// switched off make no stall.
func TestAnsweredConnectionsDoNotStall(t *testing.T) {
	hosts := map[string]func(net.Conn){
		"echo.test:443":   echoing(1000),
		"silent.test:443": echoing(0),
	}
	for name, c := range map[string]struct {
		address string
		timeout time.Duration
		use     func(t *testing.T, b *bubble)
	}{
		"answered": {"echo.test:443", time.Second, func(t *testing.T, b *bubble) {
			conn := b.join(mtwiretest.FakeTLSSecret)
			for range 20 {
				echo(t, conn, 3)
				time.Sleep(700 * time.Millisecond)
			}
			conn.Close()
		}},
		"gone": {"silent.test:443", 90 * time.Second, func(t *testing.T, b *bubble) {
			conn := b.join(mtwiretest.PaddedSecret)
			conn.Send(b.ctx, payload(3))
			conn.Close()
		}},
		"off": {"silent.test:443", -1, func(t *testing.T, b *bubble) {
			b.join(mtwiretest.PaddedSecret).Send(b.ctx, payload(3))
		}},
	} {
		config := Config{DataCenters: map[datacenter.DC][]string{0: {c.address}}, StallTimeout: c.timeout}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			c.use(t, b)
			time.Sleep(time.Hour)
			if n := b.Stats().Stalls; n != 0 || len(b.log.lines("stalled")) != 0 {
				t.Errorf("%s: %d stalls", name, n)
			}
		})
	}
}

// A byte that goes up while the timer finds that nothing was owed has a timer
// all the same.
func TestByteBesideTheTimerIsTimed(t *testing.T) {
	for range 20 {
		s := &session{start: time.Now(), proxy: &Proxy{config: Config{StallTimeout: time.Hour}}}
		s.stall.timed.Store(true) // by the timer that calls look now
		s.stall.mu.Lock()
		var timer sync.WaitGroup
		timer.Go(s.look)
		time.Sleep(time.Millisecond) // mostly enough for look to come as far as the lock
		s.expect()
		s.stall.mu.Unlock()
		timer.Wait()
		timed := s.stall.timed.Load()
		s.stall.stop()
		if !timed {
			t.Fatal("something is owed, and there is no timer")
		}
	}
}
