package metrics

import (
	"sync"
	"unicode/utf8"

	"github.com/mtwire/mtwire/proxy"
)

// othersName is the label of the users that have no series of their own.
const othersName = "_others"

// userTable selects the users that have series of their own: the first ones, up to a
// limit, until they are removed. A name that is no label value has none. The others are summed in one series, which never
// decreases: it is the sum of all users without those of the table, and without what
// the latter had when they were removed.
type userTable struct {
	max int

	mu   sync.Mutex
	last map[string]proxy.UserStats // of the users in the table, at the last scrape
	full bool                       // there were more users than max once
	left proxy.UserStats            // sums of users that were in the table
}

func newUserTable(limit int) userTable {
	return userTable{max: max(limit, 0), last: make(map[string]proxy.UserStats)}
}

// add adds what b has to a, or subtracts it with sign -1.
func add(a *proxy.UserStats, b proxy.UserStats, sign int64) {
	a.Open += sign * b.Open
	a.Connections += sign * b.Connections
	a.Up += sign * b.Up
	a.Down += sign * b.Down
}

// update returns the users that have series, and the sums of the others; any is false
// if there were none. Under mu.
func (t *userTable) update(users []proxy.UserStats, gone proxy.UserStats) (own []proxy.UserStats, others proxy.UserStats, any bool) {
	others = gone
	now := make(map[string]bool, len(users))
	for _, u := range users {
		now[u.Name] = true
		add(&others, u, 1)
		before, listed := t.last[u.Name]
		if listed && (u.Connections < before.Connections || u.Up < before.Up || u.Down < before.Down) {
			t.leave(before) // removed, and added again
		}
	}
	for name, before := range t.last {
		if !now[name] {
			t.leave(before)
			delete(t.last, name)
		}
	}
	wasFull := t.full
	for _, u := range users {
		_, listed := t.last[u.Name]
		switch {
		case !listed && (len(t.last) >= t.max || u.Name == othersName || !utf8.ValidString(u.Name)):
			t.full = true
			continue
		case !listed && wasFull: // it was one of the others
			before := u
			before.Open = 0
			add(&t.left, before, -1)
		}
		t.last[u.Name] = u
		add(&others, u, -1)
		own = append(own, u)
	}
	add(&others, t.left, -1)
	return own, others, t.full
}

// leave notes that a user's series ends.
func (t *userTable) leave(last proxy.UserStats) {
	last.Open = 0
	add(&t.left, last, 1)
}
