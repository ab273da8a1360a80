package users

import "testing"

// Two processes that follow one another count on from the same counter, at the same time.
// What both have counted is added, once, also if a period has begun meanwhile in either.
func TestCountsOfTwoProcessesAreAdded(t *testing.T) {
	const before, now = 100, 101 // periods
	at := func(period Day, up, base int64) Counter {
		return Counter{Name: "alice", Up: up, BaseUp: base, Schedule: "day", Period: period}
	}
	from := at(before, 50, 20)
	for name, c := range map[string]struct {
		ours, theirs, want Counter
	}{
		"in one period":   {at(before, 51, 20), at(before, 60, 20), at(before, 61, 20)},
		"begun in both":   {at(now, 53, 51), at(now, 65, 60), at(now, 68, 61)},
		"begun in ours":   {at(now, 53, 51), at(before, 60, 20), at(now, 63, 61)},
		"begun in theirs": {at(before, 53, 20), at(now, 65, 60), at(now, 68, 63)},
	} {
		p := New(Config{Counters: []Counter{c.ours}})
		p.Merge([]Counter{from}, []Counter{c.theirs})
		got := p.Counters(nil)[0]
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	// After a reset, all that was used before is gone.
	p := New(Config{Counters: []Counter{at(before, 51, 20)}})
	p.Merge([]Counter{from}, []Counter{at(before, 60, 60)})
	if got := p.Counters(nil)[0]; got.Up != 61 || got.Used() > 1 {
		t.Errorf("%+v", got)
	}
	p = newPolicy(alice(Limits{}))
	p.Merge(nil, []Counter{{Name: "bob", Up: 5, Seen: 7}, {Name: "alice", Down: 3}})
	p.Merge([]Counter{{Name: "bob", Up: 5, Seen: 7}}, []Counter{{Name: "bob", Up: 5, Seen: 7}})
	if usageOf(t, p, "alice").Down != 3 || len(p.Counters(nil)) != 2 {
		t.Errorf("%+v", p.Counters(nil))
	}
}
