package admission

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
)

// testMemory is a Memory, with a name for each holding.
type testMemory struct {
	*Memory
	gone []string // evicted, in order
}

func (m *testMemory) hold(name, from string, size int) *Holding {
	addr, _ := netip.ParseAddr(from)
	h := m.NewHolding(addr, func() { m.gone = append(m.gone, name) })
	if !h.Resize(size) {
		m.gone = append(m.gone, name+" itself")
	}
	return h
}

func (m *testMemory) check(t *testing.T, used int64, gone ...string) {
	t.Helper()
	if got := m.Used(); got != used || !slices.Equal(m.gone, gone) {
		t.Errorf("%d bytes used, %q evicted; want %d, %q", got, m.gone, used, gone)
	}
}

// At the limit the network that holds most makes room, with what it has held for longest:
// an attacker's connections pay for what others need, whichever of them grows.
func TestHeaviestNetworkMakesRoom(t *testing.T) {
	for _, addresses := range []struct{ client, same, beside, other string }{
		{"192.0.2.1", "198.51.100.7", "198.51.100.9", "203.0.113.1"},
		{"2001:db8:1::1", "2001:db8:2:1::1", "2001:db8:2:2::1", "2001:db8:3::1"},
		{"192.0.2.1", "", "", "203.0.113.1"}, // addresses that are not known are one network
	} {
		m := &testMemory{Memory: NewMemory(100)}
		m.hold("client", addresses.client, 30)
		m.hold("beside", addresses.beside, 10)
		m.hold("first", addresses.same, 20)
		m.hold("second", addresses.same, 20)
		m.check(t, 80)
		m.hold("other", addresses.other, 20)
		m.check(t, 100)
		growing := m.hold("third", addresses.same, 20)
		if addresses.same == "" {
			m.check(t, 90, "beside", "first")
			continue
		}
		m.check(t, 100, "first")
		growing.Resize(35)
		m.check(t, 95, "first", "second")
	}
}

// Within one address the oldest makes room, and that is the one that grows if it is the
// oldest.
func TestOldestHoldingOfANetworkMakesRoom(t *testing.T) {
	m := &testMemory{Memory: NewMemory(100)}
	first := m.hold("first", "192.0.2.1", 40)
	m.hold("second", "192.0.2.1", 40)
	if first.Resize(80) {
		t.Error("the oldest one grew")
	}
	m.check(t, 40)
	if first.Resize(1) {
		t.Error("an evicted holding grew")
	}
	if m.hold("larger than all", "192.0.2.1", 101); m.Used() != 0 {
		t.Errorf("%d bytes used", m.Used())
	}
	m.check(t, 0, "second", "larger than all itself")
}

// A holding that has given back its bytes is as if new: it is the youngest when it holds
// bytes again. After Close it holds none.
func TestHoldingGivesBytesBack(t *testing.T) {
	m := &testMemory{Memory: NewMemory(100)}
	first := m.hold("first", "192.0.2.1", 40)
	second := m.hold("second", "192.0.2.1", 40)
	first.Resize(0)
	m.check(t, 40)
	first.Resize(40)
	m.hold("third", "192.0.2.1", 40)
	m.check(t, 80, "second")
	first.Close()
	if first.Resize(1) || second.Resize(1) {
		t.Error("a holding that has ended grew")
	}
	m.check(t, 40, "second")
}

// Any number of connections that grow at the same time stay within the limit.
func TestMemoryStaysWithinItsLimit(t *testing.T) {
	m := NewMemory(1000)
	var running sync.WaitGroup
	for i := range 50 {
		addr := netip.MustParseAddr(fmt.Sprintf("192.0.%d.%d", i%7, i))
		running.Go(func() {
			for tries := 0; tries < 100; tries++ { // until one is not evicted
				h := m.NewHolding(addr, func() {})
				size := 1
				for size <= 400 && h.Resize(size) {
					if used := m.Used(); used > 1000 {
						t.Errorf("%d bytes used", used)
					}
					size *= 2
				}
				h.Close()
				if size > 400 {
					return
				}
			}
		})
	}
	running.Wait()
	if m.Used() != 0 || len(m.networks[Site]) != 0 || len(m.holdings) != 0 {
		t.Errorf("%d bytes used at the end, %d sites", m.Used(), len(m.networks[Site]))
	}
}
