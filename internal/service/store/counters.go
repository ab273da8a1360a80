package store

import (
	"errors"

	"github.com/mtwire/mtwire/internal/service/users"
)

// writeUsage writes the usage file if something has changed, and removes the files that were
// added to it. If a day has ended, it writes that one's file first; until that succeeds, the
// day goes on, so that nothing is lost.
func (s *Store) writeUsage() error {
	now := s.wall() // what is counted while the file is written is not in it
	u := &usage{day: s.day, counters: s.source.Counters(make([]users.Counter, 0, s.size.counters)), base: s.base, left: s.leftNames()}
	s.size.counters = len(u.counters)
	var failed error
	if today := users.DayOf(now.UTC()); today != s.day && today+1 != s.day {
		// A clock that was ahead by a day gets there soon. One that was ahead by more
		// has begun a day that does not end.
		if failed = s.endDay(u); failed == nil {
			s.day, s.base = today, make(map[string]direction, len(u.counters))
			for _, c := range u.counters {
				s.base[c.Name] = direction{c.Up, c.Down}
			}
			u.day, u.base = s.day, s.base
		}
	}
	s.fitBase(u.counters)
	u.base = s.base
	payload, sum := appendUsage(make([]byte, 0, s.size.bytes), u)
	s.size.bytes = len(payload)
	if sum != s.written {
		if err := s.write(kindUsage, payload); err != nil {
			return err
		}
		s.written, s.status.Written = sum, now
		s.show()
	}
	return errors.Join(failed, s.removeLeft())
}

// write replaces a file.
func (s *Store) write(kind string, payload []byte) error {
	return s.replace(s.dir, kind, makeFile(kind, payload))
}

// Forget notes that the usage of a user was dropped, today: what is counted from now on
// is all of the day.
func (s *Store) Forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.base, name)
}

// fitBase drops what base has of counters that are gone, and of those that have begun
// anew since: a file with more at the day's beginning than now would be damaged. Under mu.
func (s *Store) fitBase(counters []users.Counter) {
	fitting := 0
	for i := range counters {
		c := &counters[i]
		switch base, ok := s.base[c.Name]; {
		case !ok:
		case c.Up < base.up || c.Down < base.down:
			delete(s.base, c.Name)
		default:
			fitting++
		}
	}
	if fitting == len(s.base) {
		return
	}
	present := make(map[string]direction, fitting)
	for i := range counters {
		name := counters[i].Name
		if base, ok := s.base[name]; ok {
			present[name] = base
		}
	}
	s.base = present
}

// since returns what c has counted since base.
func since(c *users.Counter, base direction) Record {
	if c.Up < base.up || c.Down < base.down { // the usage was dropped
		base = direction{}
	}
	return Record{c.Name, c.Up - base.up, c.Down - base.down}
}
