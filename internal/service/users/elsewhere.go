package users

import (
	"cmp"
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"
)

// During an upgrade two processes have sessions of a user, and its limits are for both
// together. The new process is told what the old one has: its sessions and addresses count
// as before in activity, and its bytes as elsewhere in the quota, until that process has
// ended or the store has its counters. The old process counts the sessions that it has
// given up as after. Each lets a user that both may have sessions of have half of its rate.

// elsewhere is the bytes of a user that another process has counted. Under user.mu.
type elsewhere struct {
	total   int64 // of the other process, from the beginning of its counter
	used    int64 // of that, in the quota's period
	counted int64 // how much of it this process's counter has, from the store
}

// uncounted returns the bytes that only the other process has counted.
func (e *elsewhere) uncounted() int64 { return min(max(e.total-e.counted, 0), e.used) }

// Share is what a process has of a user that is to count in the next one. As JSON it is
// part of the format of an upgrade: see docs/upgrade.md.
type Share struct {
	User string `json:"user"`
	// Sessions is how many the process has, and Addresses those that count.
	Sessions  int            `json:"sessions"`
	Addresses []ShareAddress `json:"addresses,omitempty"`
	// Counter is the user's usage. Bytes is the sum of all that was counted, and Used what
	// belongs to the quota's period, with what only processes before have counted.
	Counter Counter `json:"counter"`
	Bytes   int64   `json:"bytes"`
	Used    int64   `json:"used"`
}

// ShareAddress is an address of a user's clients.
type ShareAddress struct {
	Network netip.Addr `json:"network"`
	Clients int        `json:"clients,omitempty"`
	// Until is how long it counts without clients, in nanoseconds from now.
	Until time.Duration `json:"until,omitempty"`
}

// maxShared is the maximum number of addresses of one Share. A user that has more has
// several.
const maxShared = 256

// What counts elsewhere is added to what counts here. More than these, of sessions and of bytes,
// is a mistake.
const (
	maxElsewhere      = 1 << 24
	maxBytesElsewhere = 1 << 61
)

// Shares returns what this process, and the ones before it, have of each user with
// sessions, addresses or bytes that count.
func (p *Policy) Shares() iter.Seq[Share] {
	return func(yield func(Share) bool) {
		now := p.now()
		for _, u := range p.list() {
			for _, share := range u.shares(now) {
				if !yield(share) {
					return
				}
			}
		}
	}
}

func (u *user) shares(now moment) (all []Share) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.activity == nil {
		return nil // and so no bytes that the store does not have
	}
	u.activity.room.shared = int32(u.activity.sessions)
	c, more := u.count(), u.elsewhere.uncounted()
	share := Share{
		User: c.Name, Sessions: u.activity.sessions + u.activity.before,
		Counter: c, Bytes: c.Up + c.Down + more, Used: c.Used() + more,
	}
	for some := range slices.Chunk(u.activity.addresses, maxShared) {
		next := share
		for _, a := range some {
			next.Addresses = append(next.Addresses, ShareAddress{a.network, a.clients + a.before, max(a.until-now.elapsed, 0)})
		}
		all = append(all, next)
	}
	if len(all) == 0 {
		return []Share{share}
	}
	return all
}

// Add makes what another process has of a user count, in place of what it had before. It
// reports false if there is no such user.
func (p *Policy) Add(s Share) bool {
	u, now := p.find(s.User).user, p.now()
	if u == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.def == nil {
		if u.activity != nil { // it was removed during the upgrade
			u.activity.before = min(max(s.Sessions, 0), maxElsewhere)
		}
		return false
	}
	if s.Sessions < 0 || s.Sessions > maxElsewhere || s.Bytes < 0 || s.Bytes > maxBytesElsewhere || s.Used < 0 || s.Used > maxBytesElsewhere {
		return true
	}
	u.elsewhere.total, u.elsewhere.used = s.Bytes, s.Used
	if u.activity == nil {
		u.begin(p.sharing.Load(), now)
	}
	u.activity.before = s.Sessions
	u.setRates(p.sharing.Load(), now)
	if u.def.MaxAddresses == 0 {
		return true
	}
	for _, a := range s.Addresses {
		if a.Network.IsValid() && a.Clients >= 0 && a.Clients <= maxElsewhere {
			e := u.activity.entry(a.Network)
			e.before = a.Clients
			e.until = max(e.until, now.elapsed+min(max(a.Until, 0), math.MaxInt64-now.elapsed))
		}
	}
	return true
}

// StoppedElsewhere returns the names of users that may not go on and have sessions in the
// process before, which does not know the cause: here they are disabled, removed or expired, or
// have used up their quota.
func (p *Policy) StoppedElsewhere() (names []string) {
	p.each(func(u *user, now moment) {
		if u.activity.before == 0 {
			return
		}
		if _, stops := u.stops(now); stops {
			names = append(names, u.counter.Name)
		}
	})
	return names
}

// sessionsBefore returns how many sessions the process before has.
func (u *user) sessionsBefore() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.activity == nil {
		return 0
	}
	return u.activity.before
}

// entry returns the entry of a network, which it makes if there is none.
func (a *addresses) entry(network netip.Addr) *address {
	i := a.index(network)
	if i < 0 {
		i = len(*a)
		*a = append(*a, address{network: network})
	}
	return &(*a)[i]
}

// release has a session that has left count on, in the next process. Under user.mu.
func (a *activity) release(network netip.Addr) {
	a.after++
	if i := a.index(network); i >= 0 {
		a.addresses[i].after++
	}
}

// ShareRates makes users have half of their rates here, as another process has sessions of
// them, or ends that but for those users of which Add has made sessions known.
func (p *Policy) ShareRates(share bool) {
	p.sharing.Store(share)
	p.each(func(u *user, now moment) { u.setRates(share, now) })
}

// Alone ends what other processes have of the users: they have ended. Their addresses count
// on as those of clients that have left.
func (p *Policy) Alone() {
	p.sharing.Store(false)
	p.SetRoom(AllRoom)
	p.each(func(u *user, now moment) {
		u.activity.before, u.activity.after = 0, 0
		for i := range u.activity.addresses {
			e := &u.activity.addresses[i]
			if e.before+e.after > 0 && u.def != nil {
				window := max(0, cmp.Or(u.def.AddressWindow, DefaultAddressWindow))
				e.until = max(e.until, now.elapsed+min(window, math.MaxInt64-now.elapsed))
			}
			e.before, e.after = 0, 0
		}
		u.setRates(false, now)
	})
}

// each calls do for each user that has had a client, under its mu.
func (p *Policy) each(do func(u *user, now moment)) {
	now := p.now()
	for _, u := range p.list() {
		u.mu.Lock()
		if u.activity != nil {
			do(u.user, now)
		}
		u.mu.Unlock()
	}
}
