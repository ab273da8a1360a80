package replay

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// wallClock is a wall clock that can be set. It begins at the time of the file
// system, which dates the logs, and also runs in a bubble.
type wallClock struct {
	base  time.Time
	start time.Time
	set   atomic.Int64
}

// newWallClock must be called outside of a bubble.
func newWallClock() *wallClock { return &wallClock{base: time.Now()} }

func (c *wallClock) now() time.Time {
	return c.base.Add(time.Since(c.start) + time.Duration(c.set.Load()))
}

func (c *wallClock) step(d time.Duration) { c.set.Add(int64(d)) }

// inBubble runs test in a bubble, with a clock that can be set.
func inBubble(t *testing.T, test func(t *testing.T, clock *wallClock)) {
	t.Helper()
	clock := newWallClock()
	synctest.Test(t, func(t *testing.T) {
		clock.start = time.Now()
		test(t, clock)
	})
}

// window is short, so that a bubble need not poll for days.
const window = 4 * time.Hour

// Logs are removed when the window has passed since their last record.
func TestLogsExpire(t *testing.T) {
	inBubble(t, func(t *testing.T, clock *wallClock) {
		dir := t.TempDir()
		m := open(t, dir, Options{Window: window, Time: clock.now})
		stop := start(t, m)
		const ids = 30
		const interval = window / 48
		for n := range ids {
			m.Seen(idOf(n))
			time.Sleep(interval)
		}
		time.Sleep(window - ids*interval)
		synctest.Wait()
		if len(logsIn(t, dir)) < 7 || !remembers(m, 1) {
			t.Errorf("forgotten before the window has passed: %v", logsIn(t, dir))
		}
		time.Sleep((ids-2)*interval + pollInterval)
		synctest.Wait()
		if n := len(logsIn(t, dir)); n < 1 || n > 2 || remembers(m, 20) || !remembers(m, ids-1) {
			t.Errorf("not only the last logs are left: %v", logsIn(t, dir))
		}
		time.Sleep(interval + pollInterval)
		synctest.Wait()
		if len(logsIn(t, dir)) > 0 || m.entries > 0 {
			t.Errorf("%d ids and %v are left", m.entries, logsIn(t, dir))
		}
		stop()
	})
}

// A restart does not make an id any younger.
func TestARestartKeepsTheAge(t *testing.T) {
	inBubble(t, func(t *testing.T, clock *wallClock) {
		dir := t.TempDir()
		options := Options{Window: window, Time: clock.now}
		m := open(t, dir, options)
		m.Seen(idOf(1))
		closed(t, m)
		for age := time.Duration(0); age < window; age += window / 9 {
			m := open(t, dir, options)
			if !remembers(m, 1) {
				t.Fatalf("forgotten after %v", age)
			}
			closed(t, m)
			time.Sleep(window / 9)
		}
		time.Sleep(time.Minute) // the file system's clock goes on as well
		if remembers(open(t, dir, options), 1) {
			t.Error("remembered after the window has passed")
		}
	})
}

// Steps of the wall clock, back and forth, in a process that runs: nothing is
// forgotten or kept for longer, by this process or by one that begins later.
func TestAClockStepChangesNoAge(t *testing.T) {
	const far = 1000 * 24 * time.Hour
	for name, steps := range map[string][]time.Duration{
		"back":                {-far},
		"forward":             {far},
		"back and forward":    {-far, far},
		"forward and back":    {far, -far},
		"a little":            {30 * time.Second, -30 * time.Second},
		"an hour, both ways":  {time.Hour, -2 * time.Hour},
		"before 1970":         {-100 * 365 * 24 * time.Hour},
		"a summer time or so": {-time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, clock *wallClock) {
				dir := t.TempDir()
				options := Options{Window: window, Time: clock.now}
				m := open(t, dir, options)
				stop := start(t, m)
				m.Seen(idOf(1))
				for _, step := range steps {
					time.Sleep(10 * time.Second)
					clock.step(step)
					time.Sleep(10 * time.Second)
					synctest.Wait()
					if !m.Seen(idOf(1)) {
						t.Fatalf("forgotten after a step of %v", step)
					}
				}
				time.Sleep(window / 2)
				synctest.Wait()
				if len(logsIn(t, dir)) == 0 || !m.Seen(idOf(1)) {
					t.Error("forgotten after half of the window")
				}
				stop()
				closed(t, m)

				m = open(t, dir, options)
				stop = start(t, m)
				if !m.Seen(idOf(1)) {
					t.Error("forgotten after a restart")
				}
				time.Sleep(window/2 + pollInterval)
				synctest.Wait()
				if remembers(m, 1) || len(logsIn(t, dir)) > 0 {
					t.Errorf("remembered after the window, or %v", logsIn(t, dir))
				}
				stop()
			})
		})
	}
}

// The clock is set back while no process runs: an id is kept for one more window,
// however often a process begins, and no longer.
func TestAClockSetBackBetweenRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, clock *wallClock) {
		dir := t.TempDir()
		options := Options{Window: window, Time: clock.now}
		m := open(t, dir, options)
		m.Seen(idOf(1))
		closed(t, m)
		clock.step(-1000 * 24 * time.Hour)
		for age := time.Duration(0); age < window; age += window / 7 {
			m := open(t, dir, options)
			if !remembers(m, 1) {
				t.Fatalf("forgotten %v after the clock was set back", age)
			}
			closed(t, m)
			time.Sleep(window / 7)
		}
		if remembers(open(t, dir, options), 1) || len(logsIn(t, dir)) > 0 {
			t.Errorf("kept for ever: %v", logsIn(t, dir))
		}
	})
}

// The clock of a machine without a battery is in the past when each run begins, and
// is set soon after.
func TestAClockThatIsSetLate(t *testing.T) {
	const off = 20 * 365 * 24 * time.Hour
	inBubble(t, func(t *testing.T, clock *wallClock) {
		dir := t.TempDir()
		options := Options{Window: window, Time: clock.now}
		for run := range 8 {
			clock.step(-off)
			m := open(t, dir, options)
			stop := start(t, m)
			if run > 0 && !remembers(m, run-1) {
				t.Errorf("run %d: what the run before saw is forgotten", run)
			}
			time.Sleep(time.Minute)
			clock.step(off)
			m.Seen(idOf(run))
			time.Sleep(window / 6)
			stop()
			name := filepath.Join(dir, m.disk.logs.name)
			closed(t, m)
			// The file system has another clock.
			if err := os.Chtimes(name, time.Time{}, clock.now().Add(-window/6)); err != nil {
				t.Fatal(err)
			}
		}
		m := open(t, dir, options)
		if !remembers(m, 7) {
			t.Error("what the last run saw is forgotten")
		}
	})
}
