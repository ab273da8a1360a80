package proxy

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtproxy"
)

const (
	// fewSecrets are searched without further ado: it takes no longer than to
	// look anything up.
	fewSecrets = 64

	// rememberedHere is how many users are remembered for one address. Behind
	// that of a mobile carrier there are many.
	rememberedHere = 32

	// rememberedAddresses is how many addresses one generation of the memory
	// has; there are two.
	rememberedAddresses = 1 << 16
)

// search finds out which user a client is. A returning address, or a host name
// that few secrets have, narrows it down at once. Otherwise all secrets are
// tried, and if none fits, that counts against the budget for strangers.
type search struct {
	bare    set            // those that are good without FakeTLS
	anyName set            // those that are good with FakeTLS and any name
	byName  map[string]set // and those with that name in lower case, anyName included
	fakeTLS set            // those that are good with FakeTLS at all
	secrets []mtproxy.Secret
	modes   []mtproxy.Modes
	memory  addressMemory
	strange budget

	// turns has room for as many searches as there are processors. More at the
	// same time end no sooner, and are allowed by a budget that knows nothing
	// of those that are still under way.
	turns chan struct{}
}

// set is some of the users: their secrets, and their places.
type set struct {
	secrets *mtwire.SecretSet
	places  []int
}

func (s *search) prepare(users []User, modes mtproxy.Modes) {
	s.turns = make(chan struct{}, runtime.GOMAXPROCS(0))
	var bare, anyName, fakeTLS []int
	byName := make(map[string][]int)
	for i, user := range users {
		s.secrets = append(s.secrets, user.Secret)
		allowed := user.Secret.Modes() & modes
		s.modes = append(s.modes, allowed)
		if allowed&(mtproxy.Classic|mtproxy.DD) != 0 {
			bare = append(bare, i)
		}
		if allowed&mtproxy.EE == 0 {
			continue
		}
		fakeTLS = append(fakeTLS, i)
		if user.Secret.Domain == "" {
			anyName = append(anyName, i)
		} else {
			name := strings.ToLower(user.Secret.Domain)
			byName[name] = append(byName[name], i)
		}
	}
	s.bare, s.anyName, s.fakeTLS = s.set(bare), s.set(anyName), s.set(fakeTLS)
	s.byName = make(map[string]set, len(byName))
	for name, places := range byName {
		s.byName[name] = s.set(append(places, anyName...))
	}
}

func (s *search) set(places []int) set {
	secrets := make([]mtproxy.Secret, len(places))
	for i, place := range places {
		secrets[i] = s.secrets[place]
	}
	return set{mtwire.NewSecretSet(secrets...), places}
}

// find is a mtwire.ListenConfig's FindSecret. all says whether the place is -1
// because all candidates were tried, and not because that was too much to ask.
func (s *search) find(from netip.Addr, q mtwire.SecretQuery, try func(*mtwire.SecretSet) int) (place int, all bool) {
	candidates := s.candidates(q)
	if len(candidates.places) <= fewSecrets {
		return candidates.try(try), true
	}
	if known := s.memory.users(from); len(known) > 0 {
		known = slices.DeleteFunc(known, func(place int) bool { return !s.fits(place, q) })
		if place := s.set(known).try(try); place >= 0 {
			s.memory.remember(from, place) // a while longer
			return place, true
		}
	}
	s.turns <- struct{}{}
	defer func() { <-s.turns }()
	if !s.strange.allows(from) {
		return -1, false
	}
	place = candidates.try(try)
	if place < 0 {
		s.strange.charge(from, cost(q, len(candidates.places)))
	} else {
		s.memory.remember(from, place)
	}
	return place, true
}

// candidates are all who a client may be.
func (s *search) candidates(q mtwire.SecretQuery) set {
	if !q.FakeTLS {
		return s.bare
	}
	if q.ServerName == "" {
		return s.fakeTLS
	}
	if named, ok := s.byName[strings.ToLower(q.ServerName)]; ok {
		return named
	}
	return s.anyName
}

// fits says whether a user is among the candidates.
func (s *search) fits(place int, q mtwire.SecretQuery) bool {
	if !q.FakeTLS {
		return s.modes[place]&(mtproxy.Classic|mtproxy.DD) != 0
	}
	domain := s.secrets[place].Domain
	return s.modes[place]&mtproxy.EE != 0 && (domain == "" || q.ServerName == "" || strings.EqualFold(domain, q.ServerName))
}

func (s set) try(try func(*mtwire.SecretSet) int) int {
	if len(s.places) == 0 {
		return -1
	}
	if i := try(s.secrets); i >= 0 {
		return s.places[i]
	}
	return -1
}

// addressMemory remembers which users came from an address, for a bounded
// number of addresses. A network of IPv6 counts as one. Its zero value is
// empty.
type addressMemory struct {
	mu         sync.Mutex
	young, old map[netip.Addr][]int
}

// users returns those who came from there, the last one first. The slice is the
// caller's.
func (m *addressMemory) users(from netip.Addr) []int {
	from = network(from)
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.lookup(from))
}

func (m *addressMemory) lookup(from netip.Addr) []int {
	if users, ok := m.young[from]; ok {
		return users
	}
	return m.old[from]
}

func (m *addressMemory) remember(from netip.Addr, place int) {
	from = network(from)
	m.mu.Lock()
	defer m.mu.Unlock()
	users := []int{place}
	for _, before := range m.lookup(from) {
		if before != place && len(users) < rememberedHere {
			users = append(users, before)
		}
	}
	if len(m.young) >= rememberedAddresses {
		m.old, m.young = m.young, nil
	}
	if m.young == nil {
		m.young = make(map[netip.Addr][]int)
	}
	m.young[from] = users
}

// network is what one subscriber has: an address of IPv4, a /64 of IPv6.
func network(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}

func (p *Proxy) findSecret(ctx context.Context, q mtwire.SecretQuery, try func(*mtwire.SecretSet) int) int {
	s := sessionOf(ctx)
	place, all := p.search.find(s.from(), q, try)
	if !all && !s.unsearched { // a FakeTLS hello is looked at as an init payload as well
		s.unsearched = true
		p.counters.unsearched.Add(1)
	}
	if place >= 0 {
		p.lobby.leave(s)
	}
	return place
}
