package users

import (
	"fmt"
	"sync"
	"time"
	_ "time/tzdata" // in containers without time zones too
)

// Day is a civil date: the number of days since 1970-01-01.
type Day int32

const daySeconds = 24 * 60 * 60

// DayOf returns the civil date of t in its location.
func DayOf(t time.Time) Day {
	year, month, day := t.Date()
	return Day(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / daySeconds)
}

// Date returns the midnight with which d begins in UTC.
func (d Day) Date() time.Time { return time.Unix(int64(d)*daySeconds, 0).UTC() }

// String returns d as 2006-01-02.
func (d Day) String() string { return d.Date().Format(time.DateOnly) }

// schedule identifies when the periods of q begin. It is "" without a quota.
func (q *Quota) schedule() string {
	switch {
	case q.Bytes == 0:
		return ""
	case q.Period == Once:
		return q.Period.String()
	}
	begin := beginning{q.Period, max(q.Day, 1), q.location()}
	if known, ok := schedules.Load(begin); ok {
		return known.(string)
	}
	known, _ := schedules.LoadOrStore(begin, fmt.Sprintf("%v %d %v", begin.period, begin.day, begin.location))
	return known.(string)
}

// beginning is when the periods of a quota begin.
type beginning struct {
	period   Period
	day      int
	location *time.Location
}

// schedules are those that quotas have: map[beginning]string. There are a few, also of a
// hundred thousand users.
var schedules sync.Map

func (q *Quota) location() *time.Location {
	if q.Location == nil {
		return time.UTC
	}
	return q.Location
}

// period returns the first day of the period that t is in, 0 without periods.
func (q *Quota) period(t time.Time) Day {
	today := t.In(q.location())
	switch day := max(q.Day, 1); q.Period {
	case Daily:
		return DayOf(today)
	case Weekly:
		weekday := (int(today.Weekday())+6)%7 + 1 // 1 is Monday
		return DayOf(today) - Day((weekday-day+7)%7)
	case Monthly:
		year, month, _ := today.Date()
		if first := monthDay(year, month, day); first <= DayOf(today) {
			return first
		}
		return monthDay(year, month-1, day)
	}
	return 0
}

// next returns the first day of the period after the one that begins on first.
func (q *Quota) next(first Day) Day {
	switch q.Period {
	case Daily:
		return first + 1
	case Weekly:
		return first + 7
	}
	year, month, _ := first.Date().Date()
	return monthDay(year, month+1, max(q.Day, 1))
}

// monthDay returns a day of a month, the month's last one if it has fewer days. month
// may be out of range.
func monthDay(year int, month time.Month, day int) Day {
	last := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC)
	return Day(last.Unix()/daySeconds) - Day(max(last.Day()-day, 0))
}

// resets returns when the period after the one that t is in begins, the zero time if
// there is none. A day whose midnight the zone skips begins at the first time that it
// has.
func (q *Quota) resets(t time.Time) time.Time {
	if q.Bytes == 0 || q.Period == Once {
		return time.Time{}
	}
	next := q.next(q.period(t))
	year, month, day := next.Date().Date()
	begin := time.Date(year, month, day, 0, 0, 0, 0, q.location())
	if DayOf(begin) < next {
		_, begin = begin.ZoneBounds()
	}
	return begin
}

// span is a time in which a quota's count does not begin anew, as long as the wall clock
// is not set. The zero value is none.
type span struct {
	from, until int64 // in Unix seconds
	period      Day
}

// spanOf returns the rest of the quota's period, if that is the counter's.
func spanOf(c *Counter, q *Quota, now time.Time) span {
	if c.Behind != 0 || c.Period != q.period(now) {
		return span{}
	}
	return span{now.Unix(), q.resets(now).Unix(), c.Period}
}

// has reports whether nothing is to be done for the counter at a time. It takes the place
// of advance for each connection, which asks the calendar.
func (s *span) has(c *Counter, now time.Time) bool {
	seconds := now.Unix()
	return s.from <= seconds && seconds < s.until && c.Period == s.period && c.Behind == 0
}

// advance moves the counter to the period that now is in. It reports whether that is a
// new one, in which the count begins anew. stepped means that the wall clock was set
// since the last call.
//
// Periods are compared by the civil date of their first day, so that the count begins
// anew once for each date, whatever daylight saving time, a change of the zone's rules
// or of the zone does. Steps of the wall clock have these effects:
//
//   - Forward, the count begins anew if the new time is in a later period: that cannot
//     be told from the passing of time without the proxy.
//   - Back, nothing happens, and nothing happens again when the clock comes to that
//     date once more. If the clock was ahead by more than a day, the count begins anew
//     at the next date on which a period begins, instead of that far one.
//   - A clock that is far behind at the start, and set later, changes nothing.
//
// If the schedule changes, the count goes on, unless there was no quota before.
func (c *Counter) advance(q *Quota, schedule string, now time.Time, stepped bool) (begins bool) {
	period := q.period(now)
	if c.Schedule != schedule {
		begins = c.Schedule == ""
		c.Schedule, c.Period, c.Behind = schedule, period, 0
		return begins
	}
	switch {
	case period >= c.Period:
		begins = period > c.Period
		c.Period, c.Behind = period, 0
	case DayOf(now.In(q.location()))+1 >= c.Period:
		// At most a day: the clock comes there soon.
	case c.Behind == 0 || stepped || period < c.Behind:
		c.Behind = period
	case period > c.Behind:
		begins = true
		c.Period, c.Behind = period, 0
	}
	return begins
}
