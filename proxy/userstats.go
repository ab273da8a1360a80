package proxy

import (
	"cmp"
	"slices"
)

// UserStats is what a user's clients have done since the proxy was made, or the user
// was added.
type UserStats struct {
	Name string
	// Open is how many authenticated connections there are now, and Connections how
	// many there were, these included. Sessions of Adopt are not in Connections.
	Open, Connections int64
	// Up and Down are the bytes of these connections, open ones included.
	Up, Down int64
}

// adoptedBytes are the bytes that another process has counted of a session, and its
// connection.
type adoptedBytes struct {
	adopted  bool
	up, down int64
}

func (u *UserStats) add(up, down int64, adopted bool) {
	if !adopted {
		u.Connections++
	}
	u.Up, u.Down = u.Up+up, u.Down+down
}

// usages are the sums of connections that have ended. Under Proxy.mu.
type usages struct {
	up, down int64 // of all, unauthenticated ones included
	users    map[string]*UserStats
	gone     UserStats // of users that were removed
}

// add counts a connection that has ended, with its last report and what was counted
// elsewhere.
func (u *usages) add(r Report, before adoptedBytes, now *snapshot) {
	up, down := r.Up-before.up, r.Down-before.down
	u.up, u.down = u.up+up, u.down+down
	if r.Stage >= Authenticated {
		u.of(r.User.Name, now).add(up, down, before.adopted)
	}
}

// of returns the sums of a user, which are those of gone if it is not in now.
func (u *usages) of(name string, now *snapshot) *UserStats {
	if now.users[name] == nil {
		return &u.gone
	}
	if u.users[name] == nil {
		u.users[name] = &UserStats{Name: name}
	}
	return u.users[name]
}

// forgetUsers adds the sums of users that are not in now to those of users that are
// gone: names are not kept for ever.
func (p *Proxy) forgetUsers(now *snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, stats := range p.ended.users {
		if now.users[name] == nil {
			gone := &p.ended.gone
			gone.Connections, gone.Up, gone.Down = gone.Connections+stats.Connections, gone.Up+stats.Up, gone.Down+stats.Down
			delete(p.ended.users, name)
		}
	}
}

// StatsByUser returns the same as Stats and, at the same time, the sums of each user
// that has had a client, sorted by name. gone are the sums of users that were removed.
// A user that was removed and added again begins at zero.
func (p *Proxy) StatsByUser() (stats Stats, users []UserStats, gone UserStats) {
	byUser := usages{users: make(map[string]*UserStats)}
	now := p.users.Load()
	stats, open := p.sum(func(ended *usages) {
		now = p.users.Load() // as forgetUsers has found them
		byUser.gone = ended.gone
		for name, u := range ended.users {
			sums := *u
			byUser.users[name] = &sums
		}
	})
	for _, s := range open {
		user := s.user.Load()
		if user == nil || Stage(s.stage.Load()) < Authenticated {
			continue
		}
		u := byUser.of(user.Name, now)
		u.Open++
		up, down := s.movedBytes()
		u.add(up, down, s.before.adopted)
	}
	for _, u := range byUser.users {
		users = append(users, *u)
	}
	slices.SortFunc(users, func(a, b UserStats) int { return cmp.Compare(a.Name, b.Name) })
	return stats, users, byUser.gone
}
