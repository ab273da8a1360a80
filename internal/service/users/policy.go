package users

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/proxy"
)

const (
	// tick is the time between two looks at the users that have sessions: one clock
	// for all of them, no timer for each.
	tick = 500 * time.Millisecond
	// stepTolerance is the least step of the wall clock that is noticed.
	stepTolerance = time.Minute
	// keepCounters is how long the counter of a user that was removed is kept, in
	// seconds: a user that comes back, after a mistake in a file, has its usage.
	keepCounters = 40 * daySeconds
)

// Config is what a Policy needs. The zero value is good.
type Config struct {
	// Counters are those of earlier runs.
	Counters []Counter
	// Log gets a line about refused clients, for each user and cause once a minute.
	// Nil means slog.Default.
	Log *slog.Logger
	// Time is the wall clock, for expiry and quotas. Nil means time.Now. Nothing else
	// depends on it.
	Time func() time.Time
}

// Policy is the users of a proxy, with their limits and usage. It is a proxy.Policy.
// Its methods may be called concurrently. New makes it.
type Policy struct {
	log   *slog.Logger
	wall  func() time.Time
	start time.Time // with a monotonic reading

	setting sync.Mutex // held by Set
	mu      sync.RWMutex
	users   map[string]entry // by name; with those that were removed
	sorted  func() []*User   // those of the last Set, by name: they are sorted for the first List
	refused [Causes]atomic.Int64
	lines   refusalLines

	sharing atomic.Bool           // all rates with another process; see elsewhere.go
	room    atomic.Pointer[rooms] // nil for AllRoom

	activity sync.Mutex
	active   []*user // those with sessions, each once, and those that had some at the last check

	clock     sync.Mutex
	wallAt    time.Time     // the wall clock when it was last read
	readAt    time.Duration // when that was, as elapsed
	steppedAt time.Duration // when the wall clock was found to be set; 0 means never
}

// entry is a user as it was at the end of a Set. A reader of the map sees all users as one
// Set has left them, while the next one changes one user after the other.
type entry struct {
	*user
	def *User // nil if it was removed
}

// user is a user with its usage.
type user struct {
	mu       sync.Mutex
	def      *User // nil if it was removed
	counter  Counter
	looked   time.Duration // when the counter was last moved to the quota's period
	refusals *refusals     // nil before the first
	activity *activity     // nil before the first client

	elsewhere elsewhere // in another process
}

// New returns a policy without users.
func New(config Config) *Policy {
	p := &Policy{
		log:   config.Log,
		wall:  config.Time,
		start: time.Now(),
		users: make(map[string]entry, len(config.Counters)),

		sorted: func() []*User { return nil },
	}
	if p.log == nil {
		p.log = slog.Default()
	}
	if p.wall == nil {
		p.wall = time.Now
	}
	for _, c := range config.Counters {
		p.users[c.Name] = entry{user: &user{counter: c}}
	}
	p.wallAt = p.wall().Round(0)
	return p
}

// elapsed returns the time since New, which no setting of the clock changes.
func (p *Policy) elapsed() time.Duration { return time.Since(p.start) }

// moment is a time by both clocks.
type moment struct {
	wall      time.Time
	elapsed   time.Duration // since New
	steppedAt time.Duration // when the wall clock was last set; 0 means never
}

// now returns the present, and notices steps of the wall clock.
func (p *Policy) now() moment {
	p.clock.Lock()
	defer p.clock.Unlock()
	wall, elapsed := p.wall().Round(0), p.elapsed()
	if step := wall.Sub(p.wallAt) - (elapsed - p.readAt); step.Abs() >= stepTolerance {
		p.steppedAt = elapsed
	}
	p.wallAt, p.readAt = wall, elapsed
	return moment{wall, elapsed, p.steppedAt}
}

// Set replaces the users. Those of a name that was there keep their usage and their
// sessions, which Run closes if they may not go on. Names must differ: see Merge.
// proxy.Proxy.SetUsers closes the sessions of users that are gone, and is to be called
// afterwards: a client of a user that the Policy does not know is refused.
//
// The Policy keeps list, which must not be changed afterwards.
func (p *Policy) Set(list []User) {
	p.setting.Lock()
	defer p.setting.Unlock()
	now := p.now()
	next := make(map[string]entry, len(list))
	for i := range list {
		def := &list[i]
		u := p.find(def.Name).user
		if u == nil {
			u = &user{counter: Counter{Name: def.Name}}
		}
		u.define(def, p.sharing.Load(), now)
		next[def.Name] = entry{u, def}
	}
	oldest := now.wall.Unix() - keepCounters
	for name, u := range p.users { // which changes under setting only
		if _, stays := next[name]; !stays && u.remove(oldest) {
			next[name] = entry{user: u.user}
		}
	}
	p.mu.Lock()
	p.users, p.sorted = next, sync.OnceValue(func() []*User { return byName(list) })
	p.mu.Unlock()
}

// byName returns users in the order of their names.
func byName(list []User) []*User {
	sorted := make([]*User, len(list))
	for i := range list {
		sorted[i] = &list[i]
	}
	slices.SortFunc(sorted, func(a, b *User) int { return strings.Compare(a.Name, b.Name) })
	return sorted
}

// find returns a user, the zero value if there is none.
func (p *Policy) find(name string) entry {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.users[name]
}

// define changes what is configured.
func (u *user) define(def *User, sharing bool, now moment) {
	u.mu.Lock()
	defer u.mu.Unlock()
	limited := u.def != nil && u.def.MaxAddresses > 0
	u.def = def
	if u.activity != nil {
		u.activity.period = span{}
	}
	u.look(now)
	if u.activity == nil {
		return
	}
	u.setRates(sharing, now)
	if def.MaxAddresses == 0 {
		u.activity.addresses = nil
	} else if !limited {
		u.activity.recount()
	}
}

// remove notes that the user is not configured any more. It reports whether the usage
// is to be kept: if a client was there since oldest, or is, here or in another process.
func (u *user) remove(oldest int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.def = nil
	return u.activity != nil && u.activity.connections() > 0 || u.counter.Seen >= oldest
}

// begin makes the activity. Under mu.
func (u *user) begin(sharing bool, now moment) {
	u.activity = new(activity)
	u.setRates(sharing, now)
}

// setRates makes the rates of u.activity as configured, or half of that if the user shares
// them with another process. Under mu.
func (u *user) setRates(sharing bool, now moment) {
	if u.def == nil {
		return
	}
	for d, limit := range [2]int64{proxy.Upload: u.def.RateUp, proxy.Download: u.def.RateDown} {
		if sharing || u.activity.before > 0 {
			limit -= limit / 2 // the larger half, also of the largest limit
		}
		switch r := u.activity.rates[d].Load(); {
		case r != nil: // the one that the sessions' waiters belong to
			r.set(limit, now.elapsed)
		case limit > 0:
			u.activity.rates[d].Store(newRate(limit, now.elapsed))
		}
	}
}

// count returns the counter with what has moved since. Under mu.
func (u *user) count() Counter {
	if u.activity != nil {
		u.counter.Up += u.activity.bytes[proxy.Upload].Swap(0)
		u.counter.Down += u.activity.bytes[proxy.Download].Swap(0)
	}
	return u.counter
}

// look begins the quota's count anew if a period has begun. Under mu.
func (u *user) look(now moment) {
	stepped := now.steppedAt > u.looked
	u.looked = now.elapsed
	if u.activity != nil && !stepped && u.activity.period.has(&u.counter, now.wall) {
		return
	}
	if u.def == nil {
		return
	}
	schedule := u.def.Quota.schedule()
	if schedule == u.counter.Schedule && (schedule == "" || u.def.Quota.Period == Once) {
		return
	}
	if u.counter.advance(&u.def.Quota, schedule, now.wall, stepped) {
		u.count()
		u.counter.reset()
	}
	if u.activity != nil {
		u.activity.period = spanOf(&u.counter, &u.def.Quota, now.wall)
	}
}

// stops returns why no client of u may go on, if there is a cause. Under mu.
func (u *user) stops(now moment) (cause Cause, stops bool) {
	def := u.def
	switch {
	case def == nil:
		return Removed, true
	case def.Disabled:
		return Disabled, true
	case !def.Expires.IsZero() && !now.wall.Before(def.Expires):
		return Expired, true
	case def.Quota.Bytes > 0:
		u.look(now)
		counter := u.count()
		return OverQuota, counter.Used()+u.elsewhere.uncounted() >= def.Quota.Bytes
	}
	return 0, false
}

// Stops returns why no client of a user is served now, if there is a cause: Disabled, Expired
// or OverQuota, or Removed if there is no such user.
func (p *Policy) Stops(name string) (cause Cause, stops bool) {
	u, now := p.find(name).user, p.now()
	if u == nil {
		return Removed, true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stops(now)
}

// Admit admits a client, or refuses it with a *Refusal. It implements proxy.Policy.
func (p *Policy) Admit(_ context.Context, s proxy.Session) (proxy.Account, error) {
	return p.admit(s, false)
}

// Adopt is Admit for a session that another process has admitted: it counts towards the
// limits of connections and addresses, and is not refused because of them. It implements
// proxy.Adopter.
func (p *Policy) Adopt(_ context.Context, s proxy.Session) (proxy.Account, error) {
	return p.admit(s, true)
}

func (p *Policy) admit(s proxy.Session, adopted bool) (proxy.Account, error) {
	name, now := s.User().Name, p.now()
	u := p.find(name).user
	if u == nil {
		return nil, p.refuse(&user{counter: Counter{Name: name}}, Removed, now)
	}
	client := s.ClientAddr()
	a := &account{policy: p, user: u, session: s, network: networkOf(client)}
	if cause, refused := p.enter(a, client.Unmap(), now, adopted); refused {
		return nil, p.refuse(u, cause, now)
	}
	return a, nil
}

// enter adds a session to those of its user, unless a limit refuses it. One that is
// adopted has entered before.
func (p *Policy) enter(a *account, client netip.Addr, now moment, adopted bool) (cause Cause, refused bool) {
	u := a.user
	u.mu.Lock()
	defer u.mu.Unlock()
	if cause, stops := u.stops(now); stops {
		return cause, true
	}
	if u.activity == nil {
		u.begin(p.sharing.Load(), now)
	}
	def, active, room := u.def, u.activity, p.room.Load()
	connections, addresses := def.MaxConnections, def.MaxAddresses
	if room != nil {
		connections, addresses = active.limits(room, &def.Limits, now.elapsed)
	}
	switch {
	case adopted && def.MaxAddresses > 0:
		active.add(a.network)
	case adopted:
	case len(def.Networks) > 0 && !slices.ContainsFunc(def.Networks, func(n netip.Prefix) bool { return n.Contains(client) }):
		return OtherNetwork, true
	case def.MaxConnections > 0 && active.connections() >= connections:
		return OverConnections, true
	default:
		entered, isNewAddress := true, false
		if def.MaxAddresses > 0 {
			entered, isNewAddress = active.enter(a.network, addresses, now.elapsed)
		}
		if !entered {
			return OverAddresses, true
		}
		if room != nil {
			active.take(room, isNewAddress)
		}
	}
	a.activity = active
	if active.sessions++; !active.listed {
		active.listed = true
		p.activate(u)
	}
	if a.after = active.first; a.after != nil {
		a.after.before = a
	}
	active.first = a
	return 0, false
}

// leave removes a session from those of its user.
func (a *account) leave(now moment, authenticated, released bool) {
	u, active := a.user, a.activity
	u.mu.Lock()
	defer u.mu.Unlock()
	if a.before != nil {
		a.before.after = a.after
	} else {
		active.first = a.after
	}
	if a.after != nil {
		a.after.before = a.before
	}
	active.sessions--
	if released {
		active.release(a.network)
	}
	until := time.Duration(0) // what did not complete its handshake may be a replay
	if authenticated {
		u.counter.Seen = now.wall.Unix()
		if u.def != nil {
			window := max(0, cmp.Or(u.def.AddressWindow, DefaultAddressWindow))
			until = now.elapsed + min(window, math.MaxInt64-now.elapsed)
		}
	}
	active.leave(a.network, until)
}

// activate adds a user to those with sessions.
func (p *Policy) activate(u *user) {
	p.activity.Lock()
	defer p.activity.Unlock()
	p.active = append(p.active, u)
}

// takeActive returns the users with sessions. Those that had some at the last call, and
// have none now, are dropped: a user whose connections come and go one after the other is
// not added for each.
func (p *Policy) takeActive() (active []*user) {
	p.activity.Lock()
	before := p.active
	p.active = nil
	p.activity.Unlock()
	for _, u := range before {
		u.mu.Lock()
		if u.activity.listed = u.activity.sessions > 0; u.activity.listed {
			active = append(active, u)
		}
		u.mu.Unlock()
	}
	p.activity.Lock()
	defer p.activity.Unlock()
	p.active = append(p.active, active...)
	return active
}

// Run closes the sessions of users that may not go on: within a second after they were
// disabled, have expired or have used up their quota. It returns ctx's error.
func (p *Policy) Run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.check()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// check closes the sessions of users that may not go on.
func (p *Policy) check() {
	now := p.now()
	for _, u := range p.takeActive() {
		sessions, cause := u.stopped(now)
		for _, s := range sessions {
			s.Close(cause)
		}
	}
	p.lines.flush(p.log, now.elapsed)
}

// stopped returns the sessions that are to be closed, and why.
func (u *user) stopped(now moment) (sessions []proxy.Session, cause error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	why, stops := u.stops(now)
	if !stops || u.activity == nil {
		return nil, nil
	}
	for a := u.activity.first; a != nil; a = a.after {
		sessions = append(sessions, a.session)
	}
	return sessions, &Refusal{u.counter.Name, why}
}
