package keysearch

import (
	"net/netip"
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
// used, for a bounded number of addresses. An IPv6 network counts as one
// address: see Network.
type addressMemory struct {
	mu        sync.Mutex
	byAddress recent.Map[netip.Addr, []uint32] // a slice never changes
}

func newAddressMemory() addressMemory {
	return addressMemory{byAddress: recent.Map[netip.Addr, []uint32]{Capacity: addressCapacity}}
}

// ids returns the secrets that were used from an address, the most recent one
// first. The slice must not be changed.
func (m *addressMemory) ids(from netip.Addr) []uint32 {
	from = Network(from)
	m.mu.Lock()
	defer m.mu.Unlock()
	ids, _ := m.byAddress.Get(from)
	return ids
}

// remember adds id as the most recent secret of an address.
func (m *addressMemory) remember(from netip.Addr, id uint32) {
	from = Network(from)
	m.mu.Lock()
	defer m.mu.Unlock()
	old, _ := m.byAddress.Get(from)
	ids := append(make([]uint32, 0, min(len(old)+1, secretsPerAddress)), id)
	for _, before := range old {
		if before != id && len(ids) < secretsPerAddress {
			ids = append(ids, before)
		}
	}
	m.byAddress.Put(from, ids)
}

// Network returns the network of one subscriber: the IPv4 address itself, or
// the first address of the IPv6 /64. An IPv4-mapped address is an IPv4 address.
// The invalid address stays invalid.
func Network(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}
