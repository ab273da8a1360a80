package users

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Counter is what outlives a run of a user's usage. Bytes are without record headers.
type Counter struct {
	Name string `json:"user"`
	// Up and Down are all bytes that were counted, and BaseUp and BaseDown those of
	// them from before the quota's period.
	Up       int64 `json:"up"`
	Down     int64 `json:"down"`
	BaseUp   int64 `json:"base_up,omitempty"`
	BaseDown int64 `json:"base_down,omitempty"`
	// Schedule identifies the quota's periods, and Period the one that the count
	// belongs to, by its first day. Behind is the period in which the wall clock was
	// found if that is long before Period: see advance.
	Schedule string `json:"schedule,omitempty"`
	Period   Day    `json:"period,omitempty"`
	Behind   Day    `json:"behind,omitempty"`
	// Seen is when a client was authenticated last, in Unix seconds; 0 means never.
	Seen int64 `json:"seen,omitempty"`
}

// Used returns the bytes of the quota's period.
func (c Counter) Used() int64 { return c.Up - c.BaseUp + c.Down - c.BaseDown }

// reset begins the count of the quota anew.
func (c *Counter) reset() { c.BaseUp, c.BaseDown = c.Up, c.Down }

// Usage is a user's usage at one time.
type Usage struct {
	Counter
	// Connections and Addresses are how many there are now. Addresses include those
	// that still count: see Limits.MaxAddresses.
	Connections, Addresses int
	// Refused is how many clients were refused since the start, by Cause.
	Refused [Causes]int64
	// Resets is when the quota begins anew, the zero time for never.
	Resets time.Time
}

// usage returns the user's usage. The user was not removed.
func (u entry) usage(now moment) (usage Usage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.look(now)
	usage = Usage{Counter: u.count()}
	if active := u.activity; active != nil {
		usage.Connections, usage.Addresses = active.sessions, active.count(now.elapsed)
		if u.def.MaxAddresses == 0 {
			usage.Addresses = active.networks()
		}
	}
	if u.refusals != nil {
		usage.Refused = u.refusals.count
	}
	usage.Resets = u.def.Quota.resets(now.wall)
	return usage
}

// networks returns how many addresses the sessions have.
func (a *activity) networks() int {
	networks := make(map[netip.Addr]struct{})
	for s := a.first; s != nil; s = s.after {
		if s.network.IsValid() {
			networks[s.network] = struct{}{}
		}
	}
	return len(networks)
}

// Usage returns a user and its usage. ok is false if there is no such user. The User
// must not be changed.
func (p *Policy) Usage(name string) (def *User, usage Usage, ok bool) {
	u := p.find(name)
	if u.def == nil {
		return nil, usage, false
	}
	return u.def, u.usage(p.now()), true
}

// All returns all users with their usage, in no order. The Users must not be changed.
func (p *Policy) All() iter.Seq2[*User, Usage] {
	users := p.list()
	return func(yield func(*User, Usage) bool) {
		now := p.now()
		for _, u := range users {
			if u.def != nil && !yield(u.def, u.usage(now)) {
				return
			}
		}
	}
}

// List returns all users by name, as one Set has left them. They, and the list, must not be
// changed.
func (p *Policy) List() []*User {
	p.mu.RLock()
	sorted := p.sorted
	p.mu.RUnlock()
	return sorted()
}

// list returns all users, with those that were removed.
func (p *Policy) list() []entry {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.AppendSeq(make([]entry, 0, len(p.users)), maps.Values(p.users))
}

// Counters returns the counters of all users, with those of users that were removed
// lately, in no order: what is to outlive the run. It appends them to counters. Users
// without a client so far have none: of a hundred thousand, those may be most.
func (p *Policy) Counters(counters []Counter) []Counter {
	for _, u := range p.list() {
		u.mu.Lock()
		if c := u.count(); c.Up|c.Down|c.Seen != 0 {
			counters = append(counters, c)
		}
		u.mu.Unlock()
	}
	return counters
}

// Refused returns how many clients were refused since the start, by Cause.
func (p *Policy) Refused() (refused [Causes]int64) {
	for cause := range refused {
		refused[cause] = p.refused[cause].Load()
	}
	return refused
}

// ResetUsage begins the count of a user's quota anew, now. It reports whether there is
// such a user.
func (p *Policy) ResetUsage(name string) bool {
	u := p.find(name)
	if u.def == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count()
	u.counter.reset()
	return true
}

// Forget drops the usage of a user that was removed for good, also what its sessions still
// count until they have ended. It does nothing while there is such a user. It reports whether
// none is there, so that no usage is left.
func (p *Policy) Forget(name string) bool {
	p.setting.Lock()
	defer p.setting.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch u := p.users[name]; {
	case u.def != nil:
		return false
	case u.user == nil:
	default:
		delete(p.users, name)
		if before := u.sessionsBefore(); before > 0 { // StoppedElsewhere is to tell of them
			p.users[name] = entry{user: &user{counter: Counter{Name: name}, activity: &activity{before: before}}}
		}
	}
	return true
}

// Restore sets the counters to those of an earlier run, before the first client.
func (p *Policy) Restore(counters []Counter) {
	p.setting.Lock()
	defer p.setting.Unlock()
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range counters {
		u := p.users[c.Name].user
		if u == nil {
			p.users[c.Name] = entry{user: &user{counter: c, elsewhere: elsewhere{counted: c.Up + c.Down}}}
			continue
		}
		u.mu.Lock()
		u.counter, u.elsewhere.counted = c, c.Up+c.Down
		u.look(now)
		u.mu.Unlock()
	}
}

// Merge adds what another process has counted: its counters when this one began with
// them, and when that one ended. It does so in the run of two processes that follow one
// another.
func (p *Policy) Merge(from, to []Counter) {
	p.setting.Lock()
	defer p.setting.Unlock()
	began := make(map[string]*Counter, len(from))
	for i := range from {
		began[from[i].Name] = &from[i]
	}
	added := make(map[string]entry)
	for i := range to {
		before := began[to[i].Name]
		if before == nil {
			before = &Counter{Name: to[i].Name}
		}
		if *before == to[i] {
			continue
		}
		u := p.find(to[i].Name).user
		if u == nil {
			u = &user{counter: Counter{Name: to[i].Name}}
			added[to[i].Name] = entry{user: u}
		}
		u.mu.Lock()
		u.count()
		u.counter.merge(before, &to[i])
		u.elsewhere.counted = to[i].Up + to[i].Down
		u.mu.Unlock()
	}
	if len(added) > 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		next := maps.Clone(p.users)
		maps.Copy(next, added)
		p.users = next
	}
}

// merge adds what another process has counted between from and to. If that one has begun
// the period of to, all that it counted belongs to it.
func (c *Counter) merge(from, to *Counter) {
	usedUp, usedDown := c.Up-c.BaseUp, c.Down-c.BaseDown
	switch {
	case c.Schedule == "":
		c.Schedule, c.Period, c.Behind = to.Schedule, to.Period, to.Behind
	case c.Schedule == to.Schedule && c.Period < to.Period:
		c.Period, c.Behind = to.Period, to.Behind
		usedUp, usedDown = 0, 0
	}
	if c.Period == to.Period {
		usedUp, usedDown = usedUp+to.Up-to.BaseUp, usedDown+to.Down-to.BaseDown
		if from.Period == to.Period {
			usedUp, usedDown = usedUp-(from.Up-from.BaseUp), usedDown-(from.Down-from.BaseDown)
		}
	}
	c.Up, c.Down = c.Up+max(to.Up-from.Up, 0), c.Down+max(to.Down-from.Down, 0)
	c.BaseUp, c.BaseDown = c.Up-min(max(usedUp, 0), c.Up), c.Down-min(max(usedDown, 0), c.Down)
	c.Seen = max(c.Seen, to.Seen)
}
