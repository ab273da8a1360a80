package proxy

import (
	"strings"
	"sync"
	"time"
)

// warnInterval is the least time between two warnings of one kind.
const warnInterval = time.Minute

// interval allows a warning once in warnInterval.
type interval struct {
	mu       sync.Mutex
	next     time.Time
	unlogged int
}

// due reports whether the warning may be logged, and how often it was not since the
// last one.
func (i *interval) due() (unlogged int, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	if now.Before(i.next) {
		i.unlogged++
		return 0, false
	}
	i.next = now.Add(warnInterval)
	unlogged, i.unlogged = i.unlogged, 0
	return unlogged, true
}

const (
	// maxCauses limits the causes that a lineLimiter distinguishes. Those beyond
	// share one limit.
	maxCauses = 64
	// restInterval is how long the lines that were left out are counted before a
	// line has their number.
	restInterval = time.Minute
)

// lineLimiter limits the log's lines of one kind for each cause, so that neither an
// outage nor an attacker fills the log. It counts the lines that are left out.
type lineLimiter struct {
	burst    int           // lines of a cause that may come at once
	interval time.Duration // that each line stands for, once burst is used up
	// rest writes the line about those that were left out.
	rest func(example lineCause, unlogged int)

	mu     sync.Mutex
	causes map[lineCause]*causeLines
	timer  *time.Timer // runs while there are lines without a number
}

// lineCause is what lines have in common: a stage, and a text without the numbers
// that differ from line to line, such as ports.
type lineCause struct {
	stage Stage
	text  string
}

type causeLines struct {
	example  lineCause
	next     time.Time // when the lines so far are paid for
	unlogged int
}

func withoutNumbers(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}

// allow reports whether a line may be written, and how many of its cause were left
// out since the last one that has a number.
func (l *lineLimiter) allow(line lineCause) (unlogged int, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.find(line)
	if c.next.Sub(now) > time.Duration(l.burst-1)*l.interval {
		c.unlogged++
		if l.timer == nil {
			l.timer = time.AfterFunc(restInterval, l.flush)
		}
		return 0, false
	}
	if c.next.Before(now) {
		c.next = now
	}
	c.next = c.next.Add(l.interval)
	unlogged, c.unlogged = c.unlogged, 0
	return unlogged, true
}

// find returns the lines of a cause. Under mu.
func (l *lineLimiter) find(line lineCause) *causeLines {
	key := lineCause{line.stage, withoutNumbers(line.text)}
	if c := l.causes[key]; c != nil {
		return c
	}
	if len(l.causes) >= maxCauses {
		key = lineCause{text: "others"}
		if c := l.causes[key]; c != nil {
			return c
		}
		line = key
	}
	if l.causes == nil {
		l.causes = make(map[lineCause]*causeLines)
	}
	c := &causeLines{example: line}
	l.causes[key] = c
	return c
}

// flush writes the numbers of the lines that were left out, and forgets the causes
// that have not come for a while.
func (l *lineLimiter) flush() {
	l.mu.Lock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	var rest []causeLines
	for key, c := range l.causes {
		if c.unlogged > 0 {
			rest = append(rest, *c)
			c.unlogged = 0
		}
		if c.next.Before(time.Now()) {
			delete(l.causes, key)
		}
	}
	l.mu.Unlock()
	for _, c := range rest {
		l.rest(c.example, c.unlogged)
	}
}
