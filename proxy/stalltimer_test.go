package proxy

import (
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A stall is counted and logged once for each session, with DC and address. If the
// data centre has never answered, it counts as silent.
func TestStallIsLoggedOnce(t *testing.T) {
	for _, c := range []struct {
		answers int
		silent  int
		stage   string
	}{
		{0, 1, `"first byte up"`},
		{1, 0, `"first byte down"`},
	} {
		hosts := map[string]func(net.Conn){"dc.test:443": echoing(c.answers)}
		config := Config{DataCenters: map[datacenter.DC][]string{4: {"dc.test:443"}}, StallTimeout: 10 * time.Second}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			conn := b.join(mtwiretest.PaddedSecret)
			defer conn.Close()
			for range c.answers {
				echo(t, conn, 3)
			}
			time.Sleep(minSilence - time.Second) // the limit for a silent client
			if n := b.Stats().Stalls; n != 0 {
				t.Errorf("%d stalls while no answer was due", n)
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
			want := `level=DEBUG msg="stalled: bytes were sent to the data centre and none came back" dc=4 address=dc.test:443 via=direct stage=` + c.stage + " waited=10s"
			if len(lines) != 1 || lines[0] != want {
				t.Errorf("%s\nwant %s", strings.Join(lines, "\n"), want)
			}
			if warnings := b.log.lines("level=WARN"); len(warnings) != c.silent {
				t.Errorf("%q", warnings)
			}
		})
	}
}

// There is no stall if the data centre answers, if the client is gone, or without
// a StallTimeout.
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

// A client that takes an answer late may have sent a request meanwhile, which is not
// answered by that. While it takes nothing the data centre is not late.
func TestAnswerThatWaitsForTheClientAnswersNoLaterRequest(t *testing.T) {
	for _, secret := range []string{mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		hosts := map[string]func(net.Conn){"dc.test:443": echoing(1)}
		config := Config{DataCenters: at("dc.test:443"), StallTimeout: 10 * time.Second}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			conn := b.join(secret)
			for range 2 {
				if err := conn.Send(b.ctx, payload(3)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // the first answer is read, and waits for the client
			}
			time.Sleep(time.Minute)
			if n := b.Stats().Stalls; n != 0 {
				t.Errorf("%d stalls while the client takes nothing", n)
			}
			if _, err := conn.Receive(b.ctx); err != nil {
				t.Fatal(err)
			}
			for i, wait := range []time.Duration{9 * time.Second, 11 * time.Second} {
				time.Sleep(wait)
				if n := int(b.Stats().Stalls); n != i {
					t.Errorf("%d stalls after another %v", n, wait)
				}
			}
		})
	}
}

// In a pause for a rate limit nothing is read, so no answer is late.
func TestPauseIsNoStall(t *testing.T) {
	account := &testAccount{delay: func(d Direction, n int) time.Duration {
		if d == Download && n > 0 {
			return time.Minute
		}
		return 0
	}}
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(1)}
	config := Config{DataCenters: at("dc.test:443"), StallTimeout: 10 * time.Second, Policy: admitTo(account)}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		conn := b.join(mtwiretest.PaddedSecret)
		echo(t, conn, 3)
		if err := conn.Send(b.ctx, payload(3)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute + 9*time.Second)
		if n := b.Stats().Stalls; n != 0 {
			t.Errorf("%d stalls in a pause", n)
		}
		time.Sleep(11 * time.Second)
		if n := b.Stats().Stalls; n != 1 {
			t.Errorf("%d stalls after a pause", n)
		}
	})
}

// A byte that goes up while the timer expires without an answer due has a timer
// of its own.
func TestByteBesideAnExpiringTimerHasATimer(t *testing.T) {
	for range 20 {
		s := &session{start: time.Now(), proxy: &Proxy{}}
		s.proxy.users.Store(&snapshot{settings: &settings{Config: Config{StallTimeout: time.Hour}}})
		s.stall.armed.Store(true) // by the timer that expires now
		s.stall.mu.Lock()
		var timer sync.WaitGroup
		timer.Go(s.expireStall)
		time.Sleep(time.Millisecond) // mostly enough for expireStall to reach the lock
		s.armStall()
		s.stall.mu.Unlock()
		timer.Wait()
		armed := s.stall.armed.Load()
		s.stall.stop()
		if !armed {
			t.Fatal("an answer is due, and there is no timer")
		}
	}
}
