package proxy

import (
	"net/netip"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
)

// What strangers may cost, counted in secrets that were tried in vain on an
// init payload. That takes about a tenth of a microsecond each, and on a
// FakeTLS hello as long for every helloUnit bytes: see the benchmarks of
// packages obfuscation and faketls.
const (
	helloUnit = 256

	// All strangers together may take a quarter to a half of a processor, and
	// four seconds' worth of that at once.
	budgetRate  = 4_000_000 // a second
	budgetBurst = 4 * budgetRate

	// One network may take a sixteenth of it.
	networkRate  = budgetRate / 16
	networkBurst = budgetBurst / 16

	// budgetNetworks is how many networks one generation of the books has;
	// there are two. Who is dropped from them begins anew.
	budgetNetworks = 1 << 14
)

// cost is what it takes to try that many secrets.
func cost(q mtwire.SecretQuery, secrets int) int {
	if !q.FakeTLS {
		return secrets
	}
	return secrets * (1 + q.Length/helloUnit)
}

// budget limits what strangers cost. Clients that know a secret are not charged
// for being looked for, so that after a restart all of them are let in; but
// while the budget is exceeded, nobody is searched for among all secrets, and
// only those get in who are known by their address or their host name. Its zero
// value is full.
type budget struct {
	now func() time.Time // nil means time.Now

	mu         sync.Mutex
	all        debt
	young, old map[netip.Addr]debt
}

// debt is what was spent and has not been made up for by time.
type debt struct {
	cost float64
	at   time.Time
}

// left is the debt as it is now.
func (d debt) left(now time.Time, rate float64) float64 {
	return max(0, d.cost-rate*now.Sub(d.at).Seconds())
}

// allows says whether a search for a client from there may be begun.
func (b *budget) allows(from netip.Addr) bool {
	from = network(from)
	now := b.time()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all.left(now, budgetRate) >= budgetBurst {
		return false
	}
	// Clients of a Unix socket have no address, and are no network.
	return !from.IsValid() || b.of(from).left(now, networkRate) < networkBurst
}

// charge notes a search that was in vain.
func (b *budget) charge(from netip.Addr, cost int) {
	from = network(from)
	now := b.time()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = debt{b.all.left(now, budgetRate) + float64(cost), now}
	own := debt{b.of(from).left(now, networkRate) + float64(cost), now}
	if len(b.young) >= budgetNetworks {
		b.old, b.young = b.young, nil
	}
	if b.young == nil {
		b.young = make(map[netip.Addr]debt)
	}
	b.young[from] = own
}

func (b *budget) of(from netip.Addr) debt {
	if d, ok := b.young[from]; ok {
		return d
	}
	return b.old[from]
}

func (b *budget) time() time.Time {
	if b.now != nil {
		return b.now()
	}
	return time.Now()
}
