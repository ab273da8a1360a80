package keysearch

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"net/netip"
	"slices"
)

// Finding is the secrets that clients of an address have used: another process can begin
// with it. As JSON it is part of the format of an upgrade: see docs/upgrade.md.
type Finding struct {
	// Address is invalid for the secrets of the latest newcomers.
	Address netip.Addr `json:"address"`
	// Secrets identify the secrets, the most recent one first.
	Secrets []SecretID `json:"secrets"`
}

// SecretID identifies a secret, and does not reveal it.
type SecretID []byte

// secretID returns the ID of an entry's secret, which is the same in any mode.
func (i *Index) secretID(index int) SecretID {
	sum := sha256.Sum256(fmt.Appendf(nil, "mtwire secret\n%x\n%s\n", i.all.keys.Keys()[index], i.domain(index)))
	return sum[:16]
}

// Findings returns what is remembered of addresses, for secrets that there are.
func (s *Search) Findings() iter.Seq[Finding] {
	s.mu.Lock()
	index := s.newest
	s.mu.Unlock()
	if index == nil {
		return slices.Values[[]Finding](nil)
	}
	known := make(map[uint32]SecretID)
	name := func(ids []uint32) (names []SecretID) {
		for _, id := range ids {
			if known[id] == nil {
				entry, there := index.ofID(id)
				if !there {
					continue
				}
				known[id] = index.secretID(entry)
			}
			names = append(names, known[id])
		}
		return names
	}
	m := &s.addresses
	m.mu.Lock()
	defer m.mu.Unlock()
	all := []Finding{{Secrets: name(m.newcomers)}}
	for address, ids := range m.byAddress.All() {
		all = append(all, Finding{address, name(ids)})
	}
	return slices.Values(slices.DeleteFunc(all, func(f Finding) bool { return len(f.Secrets) == 0 }))
}

// Restorer makes a Search remember findings of another process. It is for one goroutine,
// and short-lived: it knows the secrets as they were when it was made.
type Restorer struct {
	search *Search
	ids    map[[16]byte]uint32
}

// Restorer returns a new one.
func (s *Search) Restorer() *Restorer {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Restorer{s, make(map[[16]byte]uint32)}
	if s.newest != nil {
		for index, id := range s.newest.ids {
			r.ids[[16]byte(s.newest.secretID(index))] = id
		}
	}
	return r
}

// Add has the search remember a finding, without secrets that it does not have.
func (r *Restorer) Add(f Finding) {
	m := &r.search.addresses
	for _, secret := range slices.Backward(f.Secrets[:min(len(f.Secrets), secretsPerAddress)]) {
		if len(secret) != 16 {
			continue
		}
		id, ok := r.ids[[16]byte(secret)]
		switch {
		case !ok:
		case f.Address.IsValid():
			m.remember(f.Address, id)
		default:
			m.mu.Lock()
			m.newcomers = withFirst(id, m.newcomers)
			m.mu.Unlock()
		}
	}
}
