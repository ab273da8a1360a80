package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/service/users"
)

// daysOf returns the history of a user as texts.
func daysOf(s *Store, name string) (texts []string) {
	for _, day := range s.History(name, 0) {
		for _, r := range day.Records {
			texts = append(texts, fmt.Sprintf("%v %s %d %d", day.Day, r.Name, r.Up, r.Down))
		}
	}
	return texts
}

// Each day has the bytes that were moved on it, over restarts, and with a clock that is
// set back. Days without bytes are not there.
func TestEveryDayHasItsBytes(t *testing.T) {
	dir, now := t.TempDir(), &clock{}
	s, source := opened(t, dir, Options{Time: now.now})
	for i, step := range []struct {
		date   string
		bytes  int64
		closes bool
	}{
		{"2026-11-28", 1, false}, {"2026-11-28", 2, true}, {"2026-11-29", 4, false}, {"2026-12-01", 8, true},
		{"2027-05-05", 16, true}, // a clock that is ahead
		{"2026-12-01", 32, false}, {"2026-11-30", 64, true}, {"2026-12-02", 128, false}, {"2026-12-03", 0, true},
	} {
		if now.at = date(step.date); i == 0 {
			closed(t, s)
			s, source = opened(t, dir, Options{Time: now.now})
		}
		flushed(t, s) // a day ends before its bytes
		source.add("alice", step.bytes, 0)
		source.add("bob", 0, 1)
		if step.closes {
			closed(t, s)
			s, source = opened(t, dir, Options{Time: now.now})
		}
		flushed(t, s)
	}
	want := []string{
		"2026-11-28 alice 3 0", "2026-11-29 alice 4 0", "2026-12-01 alice 104 0", "2026-12-02 alice 128 0", "2027-05-05 alice 16 0",
	}
	if got := daysOf(s, "alice"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := daysOf(s, "bob"); len(got) != 6 || got[0] != "2026-11-28 bob 0 2" {
		t.Errorf("%q", got)
	}
	if all := s.History("", users.DayOf(date("2026-12-02"))); len(all) != 3 || len(all[0].Records) != 2 {
		t.Errorf("%+v", all)
	}
}

// A user whose usage was dropped has on that day what it was counted since, also if that
// is more than it had when the day began, and also if the store was not told. The usage
// file can be read back.
func TestADayCountsFromWhereUsageWasDropped(t *testing.T) {
	for name, c := range map[string]struct {
		forget, flush bool
		after         int64
	}{
		"more":                        {true, false, 3000},
		"more, written between":       {true, true, 3000},
		"less":                        {true, false, 5},
		"less, not told":              {false, false, 5},
		"more, not told, but written": {false, true, 3000},
	} {
		dir, now := t.TempDir(), &clock{date("2026-11-28")}
		s, source := opened(t, dir, Options{Time: now.now})
		source.add("alice", 1000, 0)
		source.add("bob", 7, 7)
		flushed(t, s)
		now.at = date("2026-11-29")
		flushed(t, s)
		source.add("alice", 50, 0)
		flushed(t, s)
		source.remove("alice")
		if c.forget {
			s.Forget("alice")
		}
		if c.flush {
			flushed(t, s)
		}
		source.add("alice", c.after, 0)
		want := []string{"2026-11-28 alice 1000 0", fmt.Sprintf("2026-11-29 alice %d 0", c.after)}
		if got := daysOf(s, "alice"); !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
		closed(t, s)
		s, _ = opened(t, dir, Options{Time: now.now})
		if got := daysOf(s, "alice"); !slices.Equal(got, want) || len(s.Status().Damaged) > 0 || up(s.Counters(), "bob") != 7 {
			t.Errorf("%s: %q after a restart, %+v", name, got, s.Status())
		}
	}
}

// A day whose file cannot be written goes on, and is written later with all bytes.
func TestADayThatCannotBeWrittenGoesOn(t *testing.T) {
	dir, now := t.TempDir(), &clock{date("2026-11-28")}
	s, source := opened(t, dir, Options{Time: now.now})
	source.add("alice", 1, 0)
	flushed(t, s)
	now.at = date("2026-11-29")
	s.replace = func(dir, name string, b []byte) error { return errFull }
	for range 3 {
		source.add("alice", 1, 0)
		if err := s.Flush(); err != errFull {
			t.Error(err)
		}
	}
	s.replace = replaceFile
	flushed(t, s)
	source.add("alice", 1, 0)
	if got := daysOf(s, ""); !slices.Equal(got, []string{"2026-11-28 alice 4 0", "2026-11-29 alice 1 0"}) {
		t.Errorf("%q", got)
	}
}

// The history is bounded in number and size: the oldest days make room. Other files, and
// a damaged day, are left alone.
func TestTheHistoryIsBounded(t *testing.T) {
	dir, now := t.TempDir(), &clock{date("2020-01-01")}
	write(t, dir, "day-of-the-operator", []byte("x"))
	write(t, dir, "day-2019-12-31", []byte("damaged"))
	s, source := opened(t, dir, Options{Time: now.now})
	s.replace = func(dir, name string, b []byte) error { return os.WriteFile(filepath.Join(dir, name), b, 0o600) } // faster
	for range maxDays + 10 {
		source.add("alice", 1, 0)
		flushed(t, s)
		now.at = now.at.Add(24 * time.Hour)
	}
	flushed(t, s)
	if got := daysOf(s, "alice"); len(got) != maxDays || got[0] != "2020-01-10 alice 1 0" {
		t.Errorf("%d days from %q", len(got), got[0])
	}
	if !slices.Contains(filesIn(t, dir), "day-of-the-operator") {
		t.Error("a file that is none of the store's was removed")
	}
	large := filepath.Join(dir, dayPrefix+"2021-01-20")
	if err := os.Truncate(large, maxDayBytes-1000); err != nil {
		t.Fatal(err)
	}
	s.prune()
	if days := s.days(); days[0] != filepath.Base(large) && len(days) > 40 {
		t.Errorf("%d days from %s", len(days), days[0])
	}
}
