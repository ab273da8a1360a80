package keysearch

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/mtwire/mtwire/internal/recent"
)

const (
	// secretsPerAddress is how many secrets are remembered for one address.
	// Many clients share the address of a mobile carrier.
	secretsPerAddress = 32

	// addressCapacity is how many addresses one generation of the memory has;
	// there are two.
	addressCapacity = 1 << 16
)

// addressMemory remembers the ids of the secrets that clients of an address
// used, for a bounded number of addresses, and the secrets of the latest
// newcomers, which are clients of an address that is not remembered for their
// secret. So a hello that is sent again from ever new addresses is not searched
// for among all secrets each time. An IPv6 network counts as one address: see
// networkOf.
type addressMemory struct {
	mu        sync.Mutex
	byAddress recent.Map[netip.Addr, []uint32] // a slice never changes
	newcomers []uint32                         // likewise
}

func newAddressMemory() addressMemory {
	return addressMemory{byAddress: recent.Map[netip.Addr, []uint32]{Capacity: addressCapacity}}
}

// ids returns the secrets that were used from an address, the most recent one
// first. The slice must not be changed.
func (m *addressMemory) ids(from netip.Addr) []uint32 {
	from = networkOf(from)
	m.mu.Lock()
	defer m.mu.Unlock()
	ids, _ := m.byAddress.Get(from)
	return ids
}

// newcomerIDs returns the secrets of the latest newcomers but for these ids, the
// most recent one first.
func (m *addressMemory) newcomerIDs(except []uint32) []uint32 {
	m.mu.Lock()
	latest := m.newcomers
	m.mu.Unlock()
	ids := make([]uint32, 0, len(latest))
	for _, id := range latest {
		if !slices.Contains(except, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// remember adds id as the most recent secret of an address.
func (m *addressMemory) remember(from netip.Addr, id uint32) {
	from = networkOf(from)
	m.mu.Lock()
	defer m.mu.Unlock()
	old, _ := m.byAddress.Get(from)
	if len(old) == 0 || old[0] != id {
		old = withFirst(id, old)
	}
	m.byAddress.Put(from, old)
}

// rememberNewcomer is remember for a secret that was not used from the address.
func (m *addressMemory) rememberNewcomer(from netip.Addr, id uint32) {
	m.remember(from, id)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.newcomers = withFirst(id, m.newcomers)
}

// withFirst returns a bounded list with id before those of old.
func withFirst(id uint32, old []uint32) []uint32 {
	ids := append(make([]uint32, 0, min(len(old)+1, secretsPerAddress)), id)
	for _, before := range old {
		if before != id && len(ids) < secretsPerAddress {
			ids = append(ids, before)
		}
	}
	return ids
}

// networkOf returns the network of one subscriber: the IPv4 address itself, or
// the first address of the IPv6 /64. An IPv4-mapped address is an IPv4 address.
// The invalid address stays invalid.
func networkOf(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}

// siteOf returns the first address of the site that an address is in: an IPv4 /24
// or an IPv6 /48. The invalid address stays invalid.
func siteOf(addr netip.Addr) netip.Addr {
	addr = networkOf(addr)
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	if prefix, err := addr.Prefix(bits); err == nil {
		return prefix.Masked().Addr()
	}
	return addr
}
