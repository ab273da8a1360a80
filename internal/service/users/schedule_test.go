package users

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/proxy"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A period begins at the midnight of its day in its zone, in short months on the last
// day, and the next one begins when it ends.
func TestPeriodsBeginOnTheirDay(t *testing.T) {
	berlin, samoa := zone(t, "Europe/Berlin"), zone(t, "Pacific/Apia")
	for _, c := range []struct {
		q            Quota
		at           string // UTC
		first, after string // the first day, and the time of the next reset in UTC
	}{
		{Quota{Period: Daily}, "2026-11-28T23:59:59Z", "2026-11-28", "2026-11-29T00:00:00Z"},
		{Quota{Period: Daily, Location: berlin}, "2026-11-28T23:00:00Z", "2026-11-29", "2026-11-29T23:00:00Z"},
		{Quota{Period: Daily, Location: berlin}, "2026-03-29T12:00:00Z", "2026-03-29", "2026-03-29T22:00:00Z"}, // 23 hours long
		{Quota{Period: Daily, Location: samoa}, "2011-12-30T09:59:59Z", "2011-12-29", "2011-12-30T10:00:00Z"},  // the 30th did not exist
		{Quota{Period: Daily, Location: samoa}, "2011-12-30T10:00:00Z", "2011-12-31", "2011-12-31T10:00:00Z"},
		{Quota{Period: Weekly}, "2026-11-29T12:00:00Z", "2026-11-23", "2026-11-30T00:00:00Z"}, // Sunday
		{Quota{Period: Weekly, Day: 7}, "2026-11-29T12:00:00Z", "2026-11-29", "2026-12-06T00:00:00Z"},
		{Quota{Period: Weekly, Day: 6}, "2026-11-27T12:00:00Z", "2026-11-21", "2026-11-28T00:00:00Z"},
		{Quota{Period: Monthly}, "2026-12-31T23:00:00Z", "2026-12-01", "2027-01-01T00:00:00Z"},
		{Quota{Period: Monthly, Day: 15}, "2026-01-14T12:00:00Z", "2025-12-15", "2026-01-15T00:00:00Z"},
		{Quota{Period: Monthly, Day: 31}, "2026-02-27T12:00:00Z", "2026-01-31", "2026-02-28T00:00:00Z"},
		{Quota{Period: Monthly, Day: 31}, "2028-02-29T12:00:00Z", "2028-02-29", "2028-03-31T00:00:00Z"},
		{Quota{Period: Monthly, Day: 30}, "2026-03-01T00:00:00Z", "2026-02-28", "2026-03-30T00:00:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		c.q.Bytes = 1
		if first := c.q.period(at).String(); first != c.first {
			t.Errorf("%v at %s: the period began on %s, want %s", c.q.schedule(), c.at, first, c.first)
		}
		if after := c.q.resets(at).UTC().Format(time.RFC3339); after != c.after {
			t.Errorf("%v at %s: the next begins at %s, want %s", c.q.schedule(), c.at, after, c.after)
		}
	}
}

// Over ten years each period follows the one before without a gap or an overlap, and the
// count begins anew once in each, hour by hour.
func TestEveryPeriodResetsOnce(t *testing.T) {
	for _, q := range []Quota{
		{Period: Daily, Location: zone(t, "Europe/Berlin")}, {Period: Weekly, Day: 3, Location: zone(t, "America/New_York")},
		{Period: Monthly, Day: 31}, {Period: Monthly, Day: 1, Location: zone(t, "Australia/Lord_Howe")}, {Period: Daily, Location: zone(t, "America/Sao_Paulo")},
	} {
		q.Bytes = 1
		at := time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC)
		var c Counter
		c.advance(&q, q.schedule(), at, false)
		next := q.resets(at)
		for ; at.Year() < 2021; at = at.Add(30 * time.Minute) {
			due := !at.Before(next)
			if begins := c.advance(&q, q.schedule(), at, false); begins != due {
				t.Fatalf("%s: at %v the count begins anew: %v, due: %v", q.schedule(), at, begins, due)
			}
			if due {
				next = q.resets(at)
			}
		}
	}
}

// clockTest is a policy whose wall clock can be set.
type clockTest struct {
	*Policy
	t     *testing.T
	shift time.Duration
	s     *session
}

func (c *clockTest) wall() time.Time { return time.Now().Add(c.shift) }

// set sets the wall clock.
func (c *clockTest) set(text string) {
	c.t.Helper()
	at, err := time.Parse(time.DateTime, text)
	if err != nil {
		c.t.Fatal(err)
	}
	c.shift += at.Sub(c.wall())
}

// move moves a byte, and checks the bytes of the period.
func (c *clockTest) move(want int64) {
	c.t.Helper()
	c.check()
	c.s.account.Moved(proxy.Download, 1)
	if used := usageOf(c.t, c.Policy, "alice").Used(); used != want {
		c.t.Errorf("at %v: %d bytes, want %d", c.wall().UTC(), used, want)
	}
}

// restart makes the next process's policy, with the counters as they are.
func (c *clockTest) restart(q Quota) {
	counters := []Counter(nil)
	if c.Policy != nil {
		counters = c.Counters(nil)
	}
	c.Policy = New(Config{Counters: counters, Time: c.wall, Log: slog.New(slog.DiscardHandler)})
	c.Set([]User{alice(Limits{Quota: q})})
	c.s = admitted(c.t, c.Policy, "alice", client)
}

// Steps of the clock: a reset never happens twice, and none is lost. See
// Counter.advance.
func TestClockStepsNeitherRepeatNorLoseAReset(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			monthly := Quota{Bytes: 1 << 40, Period: Monthly}
			c := &clockTest{t: t}
			next := func(text string) { // the clock is set to it
				t.Helper()
				c.set(text)
				if restarts {
					c.restart(monthly)
				}
			}
			c.set("2026-11-28 10:00:00")
			c.restart(monthly)
			c.move(1)
			next("2026-11-28 09:00:00")
			c.move(2)
			next("2026-12-01 00:00:01")
			c.move(1)
			next("2026-11-30 23:00:00") // over the reset, and once more
			c.move(2)
			time.Sleep(2 * time.Hour)
			c.move(3)
			next("2031-05-05 00:00:00") // far too late, which nothing can tell
			c.move(1)
			next("2026-12-01 05:00:00")
			c.move(2)
			time.Sleep(20 * 24 * time.Hour)
			c.move(3)
			if restarts {
				c.restart(monthly)
				c.move(4)
				next("2026-12-31 23:59:00")
			}
			before := usageOf(t, c.Policy, "alice").Used()
			time.Sleep(15 * 24 * time.Hour) // into January: this reset is not lost
			c.move(1)
			if before < 3 {
				t.Error(before)
			}
			next("1970-01-01 00:00:10") // a machine without a clock starts
			c.move(2)
			time.Sleep(10 * time.Second)
			next("2020-01-01 00:00:00") // its clock is set in two steps
			if !restarts {
				c.move(3)
			}
			next("2027-01-20 00:00:00")
			if !restarts {
				c.move(4)
			}
			next("2027-02-01 00:00:00")
			c.move(1)
		})
	}
}

// Other rules of a zone, another zone and another day do not begin the count anew by
// themselves. A quota where there was none counts from then on.
func TestChangesOfTheScheduleContinueTheCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &clockTest{t: t}
		c.set("2026-11-28 12:00:00")
		c.restart(Quota{})
		c.move(1)
		daily := Quota{Bytes: 1 << 40, Period: Daily, Location: zone(t, "Europe/Berlin")}
		c.restart(daily)
		c.move(1)
		c.set("2026-11-28 23:30:00") // a new day in Berlin
		c.move(1)
		c.restart(Quota{Bytes: 1 << 40, Period: Daily}) // and the old one in UTC
		c.move(2)
		c.set("2026-11-29 00:30:00")
		c.move(1)
		c.restart(Quota{Bytes: 1 << 40, Period: Daily, Location: zone(t, "Pacific/Kiritimati")}) // 14 hours ahead
		c.move(2)
		c.restart(Quota{Bytes: 1 << 40, Period: Weekly})
		c.move(3)
		c.restart(Quota{Bytes: 1 << 40})
		c.move(4)
		time.Sleep(1000 * 24 * time.Hour)
		c.move(5)
	})
	// The zone of that name ends summer time on another day than when the count began.
	q := Quota{Bytes: 1, Period: Daily, Location: time.FixedZone("Local", 3600)}
	c := Counter{}
	midnight := time.Date(2026, 10, 25, 0, 0, 0, 0, q.Location)
	c.advance(&q, "same", midnight.Add(-time.Hour), false)
	if !c.advance(&q, "same", midnight, false) {
		t.Error("no reset")
	}
	q.Location = time.FixedZone("Local", 0) // midnight comes once more
	if c.advance(&q, "same", midnight, false) || c.advance(&q, "same", midnight.Add(time.Hour), false) {
		t.Error("a second reset for one date")
	}
}
