package users

import (
	"fmt"
	"time"
)

// Day is a civil date: the number of days since 1970-01-01.
type Day int32

// dayOf returns the civil date of t in its location.
func dayOf(t time.Time) Day {
	year, month, day := t.Date()
	return Day(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / (24 * 60 * 60))
}

// Date returns the midnight with which d begins in UTC.
func (d Day) Date() time.Time { return time.Unix(int64(d)*24*60*60, 0).UTC() }

// String returns d as 2006-01-02.
func (d Day) String() string { return d.Date().Format(time.DateOnly) }

// schedule identifies when the periods of q begin.
func (q *Quota) schedule() string {
	if q.Bytes == 0 || q.Period == Once {
		return ""
	}
	return fmt.Sprintf("%v %d %v", q.Period, max(q.Day, 1), q.location())
}

func (q *Quota) location() *time.Location {
	if q.Location == nil {
		return time.UTC
	}
	return q.Location
}
