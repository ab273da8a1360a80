package users

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

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

// A name exists once, and so does a secret, whatever its mode; the error has both users
// with their sources. A user of the store makes room for a configured one.
func TestNamesAndSecretsExistOnce(t *testing.T) {
	file := []User{{Name: "alice", Secrets: proxySecrets(1, 2)}, {Name: "bob", Secrets: proxySecrets(3)}}
	all, left, err := Overlay(file, []User{{Name: "carol", Source: Store, Secrets: proxySecrets(4)}}, 0)
	if err != nil || len(left) > 0 || len(all) != 3 || all[2].Source != Store || Proxies(all)[2].Secrets[0] != secretOf(4) {
		t.Errorf("%v, %v, %v", all, left, err)
	}
	for _, bad := range []User{
		{Name: "bob", Source: Store, Secrets: proxySecrets(5)},
		{Name: "dan", Source: Store, Secrets: proxySecrets(5, 2)},
		{Name: "dan", Source: Store, Secrets: proxySecrets(5), Retired: []RetiredSecret{{Secret: secretOf(3)}}},
	} {
		if n := len(bad.Secrets); n > 1 {
			bad.Secrets[n-1].Mode = 0
		}
		_, err := Merge(append(file[:2:2], bad))
		var taken *TakenError
		if !errors.As(err, &taken) || !strings.Contains(err.Error(), "file") || !strings.Contains(err.Error(), "store") || strings.Contains(err.Error(), "00") {
			t.Errorf("%v", err)
		}
		good := User{Name: "erin", Source: Store, Secrets: proxySecrets(5)} // a secret of one that is left out
		all, left, err := Overlay(file, []User{bad, good}, 0)
		if err != nil || len(all) != 3 || all[2].Name != "erin" || len(left) != 1 || left[0].User.Name != bad.Name || left[0].Error() != taken.Error() {
			t.Errorf("%v, %v, %v", all, left, err)
		}
		if _, _, err := Overlay(file, []User{good, good}, 0); !errors.As(err, &taken) || taken.Other.Source != Store {
			t.Errorf("%v", err)
		}
	}
	if _, err := Merge([]User{{Name: "alice", Secrets: proxySecrets(1, 1)}}); err == nil {
		t.Error("a user has a secret twice")
	}
}

// Those of the store are put behind those of the configuration without memory for others: there
// may be a hundred thousand.
func TestAnOverlayTakesMemoryForItsUsersOnly(t *testing.T) {
	file := []User{{Name: "alice", Secrets: proxySecrets(1)}}
	var stored []User
	for i := range 1000 {
		stored = append(stored, User{Name: strconv.Itoa(i), Source: Store, Secrets: proxySecrets(uint64(i) + 2)})
	}
	all, _, err := Overlay(file, stored, 0)
	if err != nil || len(all) != 1001 || cap(all) > 1001 {
		t.Errorf("%d users, room for %d, %v", len(all), cap(all), err)
	}
}
