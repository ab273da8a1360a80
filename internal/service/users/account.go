package users

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/proxy"
)

// moved is the bytes of a user in one direction. It has a cache line of its own: the
// sessions of a user add to it on all processors, and those of other users do not wait
// for that.
type moved struct {
	atomic.Int64
	_ [cacheLine - 8]byte
}

// cacheLine is the length of two cache lines of amd64, which are loaded together, and
// of one of arm64.
const cacheLine = 128

// activity is what a user needs once it has had a client.
type activity struct {
	bytes [2]moved                // by direction; since the user's Counter
	rates [2]atomic.Pointer[rate] // nil before the first limit; never replaced

	// Under user.mu.
	first         *account // of the sessions
	period        span     // of the quota
	listed        bool     // the user is in Policy.active
	sessions      int
	before, after int // sessions of other processes; see elsewhere.go
	room          userRoom
	addresses
}

// connections returns how many connections count towards the limit. Under user.mu.
func (a *activity) connections() int { return a.sessions + a.before + a.after }

// recount makes the addresses those of all sessions, with the ones that count without
// any: some sessions may be counted already, of a user that was removed and comes back.
// Under user.mu.
func (a *activity) recount() {
	for i := range a.addresses {
		a.addresses[i].clients = 0
	}
	for s := a.first; s != nil; s = s.after {
		a.add(s.network)
	}
}

// account is the usage of one session, a proxy.Account.
type account struct {
	policy   *Policy
	user     *user
	activity *activity
	session  proxy.Session
	network  netip.Addr // as networkOf

	waiters [2]waiter // each for its direction

	// In activity.first, under user.mu.
	before, after *account
}

// Moved counts bytes.
func (a *account) Moved(d proxy.Direction, n int) { a.activity.bytes[d].Add(int64(n)) }

// Delay returns a pause if the user's rate is limited.
func (a *account) Delay(d proxy.Direction, n int) time.Duration {
	r := a.activity.rates[d].Load()
	if r == nil || r.unlimited.Load() {
		return 0
	}
	return r.delay(&a.waiters[d], n, a.policy.elapsed())
}

// Wait returns the pause of the direction that has the longer one, beside the user's other
// sessions.
func (a *account) Wait() time.Duration {
	return max(a.Delay(proxy.Upload, 0), a.Delay(proxy.Download, 0))
}

// Done gives back what the session has taken of the user's limits.
func (a *account) Done(r proxy.Report) { a.end(r, false) }

// Released is Done for a session that goes on in another process, and counts there. It
// implements proxy.Releaser.
func (a *account) Released(r proxy.Report) { a.end(r, true) }

func (a *account) end(r proxy.Report, released bool) {
	now := a.policy.now()
	for d := range a.waiters {
		if limit := a.activity.rates[d].Load(); limit != nil {
			limit.leave(&a.waiters[d], now.elapsed)
		}
	}
	a.leave(now, r.Stage >= proxy.Authenticated, released)
}
