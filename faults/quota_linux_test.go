package faults_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// clocked is a proxy whose wall clock the test sets.
type clocked struct {
	*operated
	file string
}

func newClocked(t *testing.T, limits string) *clocked {
	t.Helper()
	c := &clocked{newOperated(t, filepath.Join(t.TempDir(), "state"), limits), filepath.Join(t.TempDir(), "clock")}
	c.env = []string{"FAULTS_CLOCK=" + c.file}
	return c
}

// set sets the clock to a time in UTC.
func (c *clocked) set(t *testing.T, text string) {
	t.Helper()
	at, err := time.Parse(time.DateTime, text)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.file+".new", []byte(time.Until(at).String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.file+".new", c.file); err != nil { // the program reads it at any time
		t.Fatal(err)
	}
}

// used returns the bytes of the quota's period, and checks that they are those of some
// clients since a reset: serve has a client served before.
func (c *clocked) used(t *testing.T, what string, least, most int64) int64 {
	t.Helper()
	n := c.usage(t).QuotaUsed
	if n < least || n > most {
		t.Errorf("%s: %d bytes are used, want %d to %d", what, n, least, most)
	}
	return n
}

// Steps of the clock across the midnight at which a quota begins anew, back and forth, with
// restarts in other time zones of the machine in between: each reset comes once, also on a
// day of 23 hours.
func TestClockStepsAcrossAQuotaReset(t *testing.T) {
	t.Parallel()
	c := newClocked(t, "quota = '1 GB'\nquota_period = 'day'\ntime_zone = 'Europe/Berlin'\n")
	zones := []string{"UTC", "Pacific/Auckland", "America/Los_Angeles"}
	restart := func() {
		t.Helper()
		c.stop(t)
		c.env, zones = []string{c.env[0], "TZ=" + zones[0]}, append(zones[1:], zones[0])
		c.start(t)
	}
	c.set(t, "2027-03-27 22:30:00") // 23:30 in Berlin, before the night in which summer time begins
	c.start(t)
	c.serve(t)
	const any = 1 << 30
	one := c.used(t, "before", 1, any)
	for range 3 {
		restart()
		one = c.used(t, "after a restart", one, one)
	}
	c.set(t, "2027-03-27 23:00:05") // midnight is over
	c.used(t, "the next day", 0, 0)
	c.serve(t)
	one = c.used(t, "of the next day", 1, any)
	c.set(t, "2027-03-27 22:40:00") // back
	c.used(t, "once more before midnight", one, one)
	c.serve(t)
	two := c.used(t, "the count goes on", one+1, any)
	restart()
	c.used(t, "after a restart before midnight", two, two)
	c.set(t, "2027-03-27 23:30:00")
	c.used(t, "the second midnight", two, two)
	restart()
	c.used(t, "after a restart behind it", two, two)
	c.set(t, "2027-03-28 21:59:00")
	c.used(t, "a minute before the next midnight", two, two)
	c.stop(t) // the proxy does not run at midnight
	c.set(t, "2027-03-28 22:00:05")
	c.start(t)
	c.used(t, "the midnight after a day of 23 hours", 0, 0)
}

// A user that has used up the quota is served again when the clock comes to midnight. The
// quota is more than one client moves: a session that exceeds it is closed within a second,
// at any of its bytes.
func TestClockStepsLetUsersInAgain(t *testing.T) {
	t.Parallel()
	c := newClocked(t, "quota = '16 KiB'\nquota_period = 'day'\ntime_zone = 'America/New_York'\n")
	c.set(t, "2027-06-01 03:00:00")
	c.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	first := mustDial(t, c.mode, c.address, 2, nil)
	for first.Echo(ctx) == nil {
	}
	if ctx.Err() != nil {
		t.Fatal("a session goes on over its quota")
	}
	eventually(t, "the session has ended", func() bool { return c.usage(t).Connections == 0 })
	eventually(t, "a client is refused", func() bool {
		if err := tryClient(c.mode, c.address, time.Second); err == nil {
			t.Fatal("a client is served over the quota")
		}
		return c.usage(t).Refused["quota"] > 0
	})
	c.set(t, "2027-06-01 04:00:01")
	if err := tryClient(c.mode, c.address, testTimeout); err != nil {
		t.Errorf("after midnight: %v", err)
	}
}
