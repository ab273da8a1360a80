package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/service/users"
)

const (
	// dayPrefix begins the names of day files, before the date.
	dayPrefix = kindDay + "-"
	// maxDays and maxDayBytes limit how many day files are kept, and their size in
	// total.
	maxDays     = 400
	maxDayBytes = 64 << 20
)

// endDay writes the day file of a day that has ended, and removes the oldest ones that
// are too much.
func (s *Store) endDay(u *usage) error {
	var records []Record
	for i := range u.counters {
		c := &u.counters[i]
		if r := since(c, u.base[c.Name]); r.Up != 0 || r.Down != 0 {
			records = append(records, r)
		}
	}
	if len(records) == 0 {
		return nil
	}
	name := dayPrefix + s.day.String()
	if before := s.readDay(name); len(before) > 0 { // the clock was set back
		records = sumOf(before, records)
	}
	if err := s.replace(s.dir, name, makeFile(kindDay, appendDay(nil, records))); err != nil {
		return err
	}
	s.prune()
	return nil
}

// sumOf returns the sums of two lists' records.
func sumOf(a, b []Record) []Record {
	sums := make(map[string]int, len(a))
	all := slices.Clone(a)
	for i, r := range all {
		sums[r.Name] = i
	}
	for _, r := range b {
		if i, ok := sums[r.Name]; ok {
			all[i].Up, all[i].Down = all[i].Up+r.Up, all[i].Down+r.Down
		} else {
			all = append(all, r)
		}
	}
	return all
}

// readDay returns the records of a day file, none if there is no such file or if it is
// damaged, which is noted.
func (s *Store) readDay(name string) []Record {
	records, _ := readFile(s, name, kindDay, parseDay)
	return records
}

// prune removes the oldest day files that are too much.
func (s *Store) prune() {
	names := s.days()
	var total int64
	for i := len(names) - 1; i >= 0; i-- {
		path := filepath.Join(s.dir, names[i])
		if info, err := os.Lstat(path); err == nil {
			total += min(info.Size(), maxFile)
		}
		if len(names)-i > maxDays || total > maxDayBytes {
			os.Remove(path)
		}
	}
}

// days returns the names of all day files, the oldest first.
func (s *Store) days() (names []string) {
	entries, _ := os.ReadDir(s.dir)
	for _, entry := range entries {
		if _, ok := dayOfName(entry.Name()); ok && entry.Type()&fs.ModeType == 0 {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names
}

func dayOfName(name string) (day users.Day, ok bool) {
	date, ok := strings.CutPrefix(name, dayPrefix)
	at, err := time.Parse(time.DateOnly, date)
	return users.DayOf(at), ok && err == nil
}

// Day is the bytes of users on one day, from midnight to midnight UTC.
type Day struct {
	Day     users.Day
	Records []Record
}

// History returns the days from from on, the oldest first, with the present one. name
// selects a user, "" all of them; days on which no byte was moved are not there. At most
// 400 days are kept, in up to 64 MiB.
func (s *Store) History(name string, from users.Day) (days []Day) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add := func(day users.Day, records []Record) {
		if name != "" {
			records = slices.DeleteFunc(records, func(r Record) bool { return r.Name != name })
		}
		if len(records) > 0 {
			days = append(days, Day{day, records})
		}
	}
	for _, file := range s.days() {
		if day, _ := dayOfName(file); day >= from && day != s.day {
			add(day, s.readDay(file))
		}
	}
	if s.day < from {
		return days
	}
	today := s.readDay(dayPrefix + s.day.String()) // if the clock was set back
	counters := s.counters()
	var now []Record
	for i := range counters {
		if r := since(&counters[i], s.base[counters[i].Name]); r.Up != 0 || r.Down != 0 {
			now = append(now, r)
		}
	}
	add(s.day, sumOf(today, now))
	return days
}
