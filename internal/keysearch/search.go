// Package keysearch finds the secret of an unauthenticated client among many.
// An address from which a client came before, or an SNI that few secrets have,
// narrows the search down. Otherwise all keys are tried; a rate limit (leaky
// bucket) of processor time bounds what failed searches take, and a fair queue
// decides which ones come first.
//
//	search.go     which keys are tried for one client
//	set.go        the secrets, indexed by mode and SNI
//	addresses.go  the secrets that were used from an address
//	findings.go   these, for another process
//	queue.go      the order of the clients' searches, in slices
//	costlimit.go  the rate limit of failed searches, and the debts of networks
//	speed.go      the estimate of a search's cost
package keysearch

import (
	"context"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
)

// fewSecrets is the number of candidates up to which all of them are tried at
// once: that takes no longer than a look-up.
const fewSecrets = 64

// Search is the part of a key search that outlives a change of the secrets: the
// memory of addresses, and the queue with its cost limiter. It may be used
// concurrently. New makes it.
type Search struct {
	addresses addressMemory
	queue     *queue

	mu     sync.Mutex
	newest *Index // nil before the first
	lastID uint32
}

// Config limits what searches cost. Its zero value is good.
type Config struct {
	// Processors is how much processor time failed searches among many keys may
	// take in the long run, in processors. 0 means half of one, or an eighth of
	// all if that is more. Those of clients with a key that Query.Refused refuses may
	// take as much again.
	Processors float64

	// MaxWait is how long a search waits for its start, and how long it may take
	// from then on if others interrupt it. 0 means two seconds.
	MaxWait time.Duration
}

// New returns a Search that remembers no address and has all of its budget.
func New(config Config) *Search {
	return &Search{addresses: newAddressMemory(), queue: newQueue(config)}
}

// SetProcessors replaces Config.Processors, for searches that wait as well.
func (s *Search) SetProcessors(processors float64) { s.queue.setProcessors(processors) }

// NewIndex makes the Index for a new list of entries, which must not be changed
// afterwards. Addresses stay remembered for the secrets that the Index before
// had too. An older Index stays usable.
func (s *Search) NewIndex(entries []Entry) *Index {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = newIndex(entries, s.assignIDs(entries))
	return s.newest
}

// identity is what a secret keeps its id by: what its clients have, in any mode.
type identity struct {
	key    [16]byte
	domain string
}

// assignIDs returns the ids of entries' secrets. A secret keeps its id until
// it is missing in a list of entries. Apart from the counter's wraparound, an id
// is never used for another secret, so the memory of addresses may have ids of
// secrets that are gone. Under mu.
func (s *Search) assignIDs(entries []Entry) []uint32 {
	before := make(map[identity]uint32)
	if i := s.newest; i != nil {
		before = make(map[identity]uint32, len(i.ids))
		for index, id := range i.ids {
			before[identity{i.all.keys.Keys()[index], i.domain(index)}] = id
		}
	}
	ids, assigned := make([]uint32, len(entries)), make(map[identity]uint32, len(entries))
	for k := range entries {
		secret := identity{entries[k].Secret.Key, entries[k].Secret.Domain}
		id, ok := assigned[secret]
		if !ok {
			id, ok = before[secret]
		}
		if !ok {
			s.lastID++
			id = s.lastID
		}
		ids[k], assigned[secret] = id, id
	}
	return ids
}

// Outcome is how a search ended.
type Outcome uint8

const (
	// NotSearched means that the client's key may be among those that were not
	// tried: failed searches have used up the budget, and the searches of other
	// clients came first.
	NotSearched Outcome = iota
	// Found means that a key fits.
	Found
	// NoMatch means that all keys that the client can have were tried, and none
	// fits.
	NoMatch
	// Canceled means that the context ended first.
	Canceled
)

// Find searches i for the secret of a client at address from, which is invalid
// if the client has none (a Unix socket's). try returns the index of the
// client's key in a set that is not empty, or -1; Find may call it several
// times. Find returns the index in the entries of i, the first that fits if
// several have the key, and Found; or else -1.
//
// A search among few keys is done at once. A search among many may wait for
// others, at most for about twice Config.MaxWait, and ends with ctx, though not
// during a call of try.
func (s *Search) Find(ctx context.Context, i *Index, from netip.Addr, q Query, try func(*mtproxy.KeySet) int) (entry int, outcome Outcome) {
	if q.Refused != nil {
		q.hasRefused = new(bool)
	}
	all := i.candidates(q)
	if q.isCheap(all) {
		if entry = all.try(q, try); entry < 0 {
			return -1, NoMatch
		}
		return entry, Found
	}
	ids := s.addresses.ids(from)
	returning := i.remembered(ids, q)
	if entry = returning.tryCheap(q, try); entry >= 0 {
		s.addresses.remember(from, i.ids[entry]) // as the most recent one
		return entry, Found
	}
	latest := i.remembered(s.addresses.newcomerIDs(ids), q)
	if entry = latest.tryCheap(q, try); entry >= 0 {
		s.addresses.rememberNewcomer(from, i.ids[entry])
		return entry, Found
	}
	if q.Slow != nil {
		q.Slow()
	}
	entry, outcome = s.queued(ctx, from, q, try, returning, latest, all)
	if entry >= 0 {
		s.addresses.rememberNewcomer(from, i.ids[entry])
	}
	return entry, outcome
}

// queued tries those of the sets that are not cheap, one after the other, in
// slices for which it waits in the queue.
func (s *Search) queued(ctx context.Context, from netip.Addr, q Query, try func(*mtproxy.KeySet) int, sets ...set) (entry int, outcome Outcome) {
	keys := 0
	for _, set := range sets {
		if !q.isCheap(set) {
			keys += set.len()
		}
	}
	j := s.queue.enter(from, q, keys)
	defer func() { s.queue.leave(j, outcome, q.hasRefused != nil && *q.hasRefused) }()
	for _, set := range sets {
		if q.isCheap(set) {
			continue
		}
		for set.len() > 0 {
			var n int
			if n, outcome = s.queue.acquire(ctx, j, set.len()); n == 0 {
				return -1, outcome
			}
			start := time.Now()
			if entry = set.first(n).try(q, try); entry >= 0 {
				return entry, Found
			}
			s.queue.release(j, n, time.Since(start))
			set = set.from(n)
			runtime.Gosched() // connections that are relayed wait for one slice only
		}
	}
	return -1, NoMatch
}
