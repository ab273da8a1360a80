package proxy

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/route"
	"github.com/mtwire/mtwire/obfuscation"
)

// DataCenterState is what the sessions of a data centre have found out about it.
type DataCenterState uint8

const (
	// Answering: it answers, or no session has found out otherwise.
	Answering DataCenterState = iota
	// Unreachable: no connection to it could be made.
	Unreachable
	// Silent: it took a session's first bytes, or bytes of several sessions, and
	// has sent nothing on any session for Config.StallTimeout since. Or it has ended
	// all connections of a session, one after the other over all addresses and
	// upstreams that were left, before their first byte.
	Silent
)

// String returns the state in the words of the log: "answering", "unreachable" or
// "silent".
func (s DataCenterState) String() string {
	switch s {
	case Answering:
		return "answering"
	case Unreachable:
		return "unreachable"
	case Silent:
		return "silent"
	}
	return "unknown"
}

// DataCenterChange is a change of a data centre's state.
type DataCenterChange struct {
	DC    datacenter.DC
	State DataCenterState
	// Cause is why the data centre is Unreachable.
	Cause error
	// Since is when it failed first: the outage that has begun, or has ended.
	Since time.Time
	// Sessions is how many sessions have failed since.
	Sessions int
}

const (
	// maxStates limits the data centres whose states are kept: clients may ask for
	// any number if the operator has configured an address for all. Those beyond
	// share one state, but for the main ones, which have their own whatever clients
	// have asked for before.
	maxStates = 64
	// mainDataCenters is how many data centres clients have accounts at. Each has a
	// number for media as well.
	mainDataCenters = 5
	// downTick is the accuracy of the time at which a data centre has sent a byte.
	downTick = int64(100 * time.Millisecond)
	// minPaused is how many sessions that had answers before make a data centre
	// silent.
	minPaused = 5
)

// dataCenters has the states of all data centres. One failure of a data centre
// concerns all of its sessions, so it is traced once, and so is its end.
type dataCenters struct {
	start   time.Time // times in nanoseconds are since then
	changed func(DataCenterChange)

	mu     sync.Mutex
	states map[datacenter.DC]*dataCenterState
}

type dataCenterState struct {
	changed func(DataCenterChange)
	// down is when the data centre sent bytes last. It is not updated by bytes that
	// come within downTick.
	down    atomic.Int64
	failing atomic.Bool

	mu       sync.Mutex
	change   DataCenterChange // the failure
	failed   int64            // when a session failed last
	traced   bool             // change was
	tracedAt int64            // when the last failure was; 0 if none

	paused      int   // sessions that wait since the last bytes
	pausedAfter int64 // down at that time
}

// DataCenterStatus is what is known of a data centre that clients have asked for.
type DataCenterStatus struct {
	DC    datacenter.DC
	State DataCenterState
	// Cause is why it is Unreachable. It has no credentials.
	Cause error
	// Since is when it failed first, and Sessions how many sessions have failed since;
	// zero if it is Answering.
	Since    time.Time
	Sessions int
	// Heard is when it has sent bytes last, with an accuracy of a tenth of a second,
	// zero if it has not.
	Heard time.Time
}

// DataCenters returns the state of each data centre that clients have asked for, sorted
// by number. If there are more than 64, number 0 stands for the rest but the main ones.
func (p *Proxy) DataCenters() []DataCenterStatus {
	d := p.dataCenters
	d.mu.Lock()
	states := slices.Collect(maps.Values(d.states))
	d.mu.Unlock()
	all := make([]DataCenterStatus, 0, len(states))
	for _, state := range states {
		all = append(all, state.status(d.start))
	}
	slices.SortFunc(all, func(a, b DataCenterStatus) int { return cmp.Compare(a.DC, b.DC) })
	return all
}

func (state *dataCenterState) status(start time.Time) DataCenterStatus {
	state.mu.Lock()
	defer state.mu.Unlock()
	c := &state.change
	status := DataCenterStatus{DC: c.DC}
	if state.failing.Load() {
		status.State, status.Cause, status.Since, status.Sessions = c.State, c.Cause, c.Since, c.Sessions
	}
	if heard := state.down.Load(); heard != 0 {
		status.Heard = start.Add(time.Duration(heard))
	}
	return status
}

func newDataCenters(changed func(DataCenterChange)) *dataCenters {
	return &dataCenters{start: time.Now(), changed: changed, states: make(map[datacenter.DC]*dataCenterState)}
}

// now returns the present time in nanoseconds, at least 1.
func (d *dataCenters) now() int64 { return max(int64(time.Since(d.start)), 1) }

// at returns the time at an age of s, in nanoseconds.
func (d *dataCenters) at(s *session, age int64) int64 { return int64(s.start.Sub(d.start)) + age }

func (d *dataCenters) of(dc datacenter.DC) *dataCenterState {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.states[dc] == nil {
		if isMain := -mainDataCenters <= dc && dc <= mainDataCenters; !isMain && len(d.states) >= maxStates {
			dc = 0
		}
		if d.states[dc] == nil {
			d.states[dc] = &dataCenterState{changed: d.changed, change: DataCenterChange{DC: dc}}
		}
	}
	return d.states[dc]
}

// isFailing reports whether the last sessions of dc have failed.
func (d *dataCenters) isFailing(dc datacenter.DC) bool { return d.of(dc).failing.Load() }

// unreachable notes that no connection to dc could be made. It reports false if err
// says nothing about the data centre: the client has asked for something that there
// is not, or a resource of this machine is exhausted.
func (d *dataCenters) unreachable(dc datacenter.DC, err error) bool {
	if errors.Is(err, route.ErrUnknownDC) || errors.Is(err, route.ErrPaddedOnly) || errors.Is(err, obfuscation.ErrFull) || netx.IsLocal(err) {
		return false
	}
	d.of(dc).fail(d.now(), Unreachable, err, 1)
	return true
}

// unanswered notes that a session which was first dialled at begun had no answer, and
// that err is why it cannot be moved on any more. If other sessions have had bytes of
// the data centre since, it is the client's fault.
func (d *dataCenters) unanswered(dc datacenter.DC, begun int64, err error) {
	state := d.of(dc)
	if heard := state.down.Load(); heard != 0 && heard+downTick >= begun || netx.IsLocal(err) {
		return
	}
	state.fail(d.now(), Silent, nil, 1)
}

// stalled notes that a session has waited for an answer since since. If others of the
// data centre have had answers, it is not silent. After its first answer, a session
// may have sent an acknowledgement, which is not answered: then it is not silent
// before minPaused sessions wait.
func (d *dataCenters) stalled(dc datacenter.DC, since int64, answered bool) {
	state := d.of(dc)
	down := state.down.Load()
	if down >= since {
		return
	}
	sessions := 1
	if answered && !state.failing.Load() {
		if sessions = state.pause(down); sessions < minPaused {
			return
		}
	}
	state.fail(d.now(), Silent, nil, sessions)
}

// pause counts a session that waits since the data centre's last bytes came, and
// returns the number of those.
func (state *dataCenterState) pause(down int64) int {
	state.mu.Lock()
	defer state.mu.Unlock()
	if state.pausedAfter != down {
		state.pausedAfter, state.paused = down, 0
	}
	state.paused++
	return state.paused
}

// heard notes that bytes came down at now on a session that was dialled at dialled.
func (state *dataCenterState) heard(now, dialled int64) {
	if last := state.down.Load(); last == 0 || now-last >= downTick {
		state.down.Store(now)
	}
	if state.failing.Load() {
		state.recover(dialled)
	}
}

// fail notes the failure of that many sessions.
func (state *dataCenterState) fail(now int64, s DataCenterState, cause error, sessions int) {
	state.mu.Lock()
	defer state.mu.Unlock()
	c := &state.change
	if !state.failing.Load() {
		*c = DataCenterChange{DC: c.DC, Since: time.Now()}
		state.traced = false
	}
	c.State, c.Cause = s, cause
	c.Sessions += sessions
	state.failed = now
	state.failing.Store(true)
	// A data centre that fails every now and then is not to fill the log.
	if !state.traced && (state.tracedAt == 0 || now-state.tracedAt >= int64(warnInterval)) {
		state.traced, state.tracedAt = true, now
		state.changed(*c)
	}
}

// recover ends a failure. Any byte does if the data centre was silent. If it was
// unreachable, bytes of older connections prove nothing.
func (state *dataCenterState) recover(dialled int64) {
	state.mu.Lock()
	defer state.mu.Unlock()
	if !state.failing.Load() || state.change.State == Unreachable && dialled < state.failed {
		return
	}
	state.failing.Store(false)
	if state.traced {
		c := state.change
		c.State, c.Cause = Answering, nil
		state.changed(c)
	}
}
