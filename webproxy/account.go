package webproxy

import "sync/atomic"

// account is what a user has of what all users of a Server share, so that one of them
// does not keep the others out: of each limit three times what is left, at most. A user
// alone gets three quarters of it. It has three quarters of each rate, too.
//
// An account lives while its user has sessions, pages, or streams, which may outlive their
// session until Accept's caller closes them. Server.mu guards it, but for what is of a type
// of its own.
type account struct {
	sessions, streams, bootstraps int
	up, down                      share
	pages, starts, opens          *rate
}

// mayHave reports whether a user that has so many of used things may have another one.
func mayHave(mine, used, limit int) bool { return used < limit && mine < 3*(limit-used) }

// account returns the account of a user, which it makes if there is none. The caller
// holds s.mu.
func (s *Server) account(name string) *account {
	a := s.accounts[name]
	if a == nil {
		l := &s.limits
		a = &account{up: share{of: &s.up}, down: share{of: &s.down}}
		a.pages, a.starts, a.opens = newRate(most(l.PagesPerMinute)), newRate(most(l.SessionsPerMinute)), newRate(most(l.StreamsPerMinute))
		s.accounts[name] = a
	}
	return a
}

func most(perMinute int) int { return max(perMinute*3/4, 1) }

// release forgets a user's account if nothing is left in it. The caller holds s.mu.
func (s *Server) release(name string, a *account) {
	if a.sessions == 0 && a.bootstraps == 0 && a.streams == 0 && s.accounts[name] == a {
		delete(s.accounts, name)
	}
}

// budget is a limit of bytes that users share.
type budget struct {
	used atomic.Int64
	max  int64
}

// share is what a user has of a budget. A nil share has no limit.
type share struct {
	of   *budget
	used atomic.Int64
}

// add takes n bytes, or gives back -n. It reports false, and takes nothing, if they
// would exceed a limit, unless force is set.
func (s *share) add(n int, force bool) bool {
	if s == nil || n == 0 {
		return true
	}
	mine, all := s.used.Add(int64(n)), s.of.used.Add(int64(n))
	if n > 0 && !force && (all > s.of.max || mine > 3*(s.of.max-all)) {
		s.used.Add(int64(-n))
		s.of.used.Add(int64(-n))
		return false
	}
	return true
}
