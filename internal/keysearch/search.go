// Package keysearch finds the secret of an unauthenticated client among many.
// An address from which a client came before, or an SNI that few secrets have,
// narrows the search down. Otherwise all keys are tried; a rate limit (leaky
// bucket) and a semaphore bound the CPU that failed searches take.
//
//	search.go     the search for one client's secret
//	set.go        the secrets, indexed by mode and SNI
//	addresses.go  the secrets that were used from an address
//	costlimit.go  the rate limit of failed searches
package keysearch

import (
	"net/netip"
	"runtime"
	"sync"

	"github.com/mtwire/mtwire/mtproxy"
)

// fewSecrets is the number of candidates up to which all of them are tried at
// once: that takes no longer than a look-up.
const fewSecrets = 64

// Search is the part of a key search that outlives a change of the secrets: the
// memory of addresses, the cost limiter and the semaphore. It may be used
// concurrently. New makes it.
type Search struct {
	addresses addressMemory
	costs     costLimiter

	// semaphore admits as many full searches as there are processors. More at
	// the same time would end no sooner, and would pass a limiter that is
	// charged only when a search has failed.
	semaphore chan struct{}

	mu     sync.Mutex
	ids    map[mtproxy.Secret]uint32 // of the secrets in the newest Index
	lastID uint32
}

// New returns a Search that remembers no address and has all of its budget.
func New() *Search {
	return &Search{
		addresses: newAddressMemory(),
		costs:     newCostLimiter(),
		semaphore: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
}

// NewIndex makes the Index for a new list of entries, which must not be changed
// afterwards. Addresses stay remembered for the secrets that the Index before
// had too. An older Index stays usable.
func (s *Search) NewIndex(entries []Entry) *Index {
	return newIndex(entries, s.assignIDs(entries))
}

// assignIDs returns the ids of entries' secrets. A secret keeps its id until
// it is missing in a list of entries. Apart from the counter's wraparound, an id
// is never used for another secret, so the memory of addresses may have ids of
// secrets that are gone.
func (s *Search) assignIDs(entries []Entry) []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, bySecret := make([]uint32, len(entries)), make(map[mtproxy.Secret]uint32, len(entries))
	for i := range entries {
		secret := entries[i].Secret
		id, ok := bySecret[secret]
		if !ok {
			id, ok = s.ids[secret]
		}
		if !ok {
			s.lastID++
			id = s.lastID
		}
		ids[i], bySecret[secret] = id, id
	}
	s.ids = bySecret
	return ids
}

// Find searches i for the secret of a client at address from, which is invalid
// if the client has none (a Unix socket's). try returns the index of the
// client's key in a set that is not empty, or -1; Find may call it several
// times. Find returns the index in the entries of i, the first that fits if
// several have the key, or -1. searched is false if the full search was skipped
// because the budget was spent.
func (s *Search) Find(i *Index, from netip.Addr, q Query, try func(*mtproxy.KeySet) int) (entry int, searched bool) {
	candidates := i.candidates(q)
	if len(candidates.indexes) <= fewSecrets {
		return candidates.try(try), true
	}
	if ids := s.addresses.ids(from); len(ids) > 0 {
		if entry := i.remembered(ids, q).try(try); entry >= 0 {
			s.addresses.remember(from, i.ids[entry]) // as the most recent one
			return entry, true
		}
	}
	s.semaphore <- struct{}{}
	defer func() { <-s.semaphore }()
	if !s.costs.allows(from) {
		return -1, false
	}
	entry = candidates.try(try)
	if entry < 0 {
		s.costs.charge(from, cost(q, len(candidates.indexes)))
	} else {
		s.addresses.remember(from, i.ids[entry])
	}
	return entry, true
}
