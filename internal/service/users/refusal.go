package users

import (
	"log/slog"
	"sync"
	"time"
)

// Cause is why a client of a user is refused.
type Cause uint8

// The causes.
const (
	Removed Cause = iota // after the client's first byte
	Disabled
	Expired
	OverConnections
	OverAddresses
	OverQuota
	OtherNetwork
	Causes = iota // their number
)

var causeNames = [Causes]string{"removed", "disabled", "expired", "connections", "addresses", "quota", "network"}

// String returns the cause in one word: "removed", "disabled", "expired",
// "connections", "addresses", "quota" or "network".
func (c Cause) String() string {
	if int(c) >= Causes {
		return "unknown"
	}
	return causeNames[c]
}

// Refusal is the error with which a client is refused, or a session is closed.
type Refusal struct {
	User  string
	Cause Cause
}

var causeTexts = [Causes]string{
	"was removed", "is disabled", "has expired", "has as many connections as it may have",
	"has as many addresses as it may have", "has used up its quota", "may not connect from this network",
}

func (r *Refusal) Error() string {
	if int(r.Cause) >= Causes {
		return "user " + r.User + " is refused"
	}
	return "user " + r.User + " " + causeTexts[r.Cause]
}

// refusals are those of a user, by cause.
type refusals struct {
	count, logged [Causes]int64
	next          [Causes]time.Duration // when the next line may be logged
}

const (
	// refusalInterval is the least time between two lines about a user and cause, and
	// maxRefusalLines how many there are in it about all users.
	refusalInterval = time.Minute
	maxRefusalLines = 20
)

// refuse counts and logs a refusal, and returns its error.
func (p *Policy) refuse(u *user, cause Cause, now moment) error {
	p.refused[cause].Add(1)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.refusals == nil {
		u.refusals = new(refusals)
	}
	r := u.refusals
	r.count[cause]++
	if now.elapsed >= r.next[cause] && p.lines.allow(now.elapsed) {
		p.log.Info("clients are refused", "user", u.counter.Name, "cause", cause.String(), "refused", r.count[cause]-r.logged[cause])
		r.next[cause], r.logged[cause] = now.elapsed+refusalInterval, r.count[cause]
	}
	return &Refusal{u.counter.Name, cause}
}

// refusalLines bounds the log of refusals.
type refusalLines struct {
	mu       sync.Mutex
	end      time.Duration // of the interval
	lines    int           // in it
	unlogged int64
}

// allow reports whether a line may be written.
func (l *refusalLines) allow(now time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now >= l.end {
		l.end, l.lines = now+refusalInterval, 0
	}
	if l.lines >= maxRefusalLines {
		l.unlogged++
		return false
	}
	l.lines++
	return true
}

// flush logs how many lines were left out, once the interval is over.
func (l *refusalLines) flush(log *slog.Logger, now time.Duration) {
	l.mu.Lock()
	unlogged := l.unlogged
	if now < l.end || unlogged == 0 {
		unlogged = 0
	} else {
		l.unlogged = 0
	}
	l.mu.Unlock()
	if unlogged > 0 {
		log.Info("more clients are refused", "refused", unlogged)
	}
}
