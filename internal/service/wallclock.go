package service

import "time"

// wallClock is the clock by which users expire, quotas begin anew and the days of the
// usage end. faults puts another file in place of this one, in which it can be set.
func wallClock() time.Time { return time.Now() }
