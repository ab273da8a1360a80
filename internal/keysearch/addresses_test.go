package keysearch

import (
	"net/netip"
	"testing"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
)

// Families and offices share an address: several secrets are remembered for
// one. A client with another secret is found by a full search.
func TestSeveralClientsReturnToOneAddress(t *testing.T) {
	s := newTestServer(entriesOf(0, 100, mtproxy.Padded, ""))
	home := []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:2")}
	for i := range secretsPerAddress + 2 {
		s.accept(home[i%2], initOf(t, keyOf(i), frame.PaddedIntermediate))
	}
	for i := 2; i < secretsPerAddress+2; i++ {
		if entry, tried := s.accept(home[1-i%2], initOf(t, keyOf(i), frame.PaddedIntermediate)); entry != i || tried != secretsPerAddress {
			t.Errorf("client %d is found as %d, %d keys tried", i, entry, tried)
		}
	}
	if entry, tried := s.accept(home[0], initOf(t, keyOf(0), frame.PaddedIntermediate)); entry != 0 || tried != secretsPerAddress+100 {
		t.Errorf("the first client is found as %d, %d keys tried", entry, tried)
	}
	if ids := s.addresses.ids(netip.MustParseAddr("2001:db8:0:1::1")); ids != nil {
		t.Errorf("secrets %d are remembered for the next network", ids)
	}
}

// The memory of addresses is bounded: it forgets the oldest ones.
func TestAddressMemoryForgetsTheOldest(t *testing.T) {
	m := newAddressMemory()
	for i := range 2*addressCapacity + 10 {
		m.remember(address(i), uint32(i%7))
		if n := m.byAddress.Len(); n > 2*addressCapacity {
			t.Fatalf("%d addresses are remembered", n)
		}
	}
	if ids := m.ids(address(2)); ids != nil {
		t.Errorf("secrets %d of the first address are still remembered", ids)
	}
	if ids := m.ids(address(addressCapacity + 10)); len(ids) != 1 {
		t.Errorf("secrets %d are remembered for a younger address", ids)
	}
}

func TestNetworkIsAnIPv4AddressOrAnIPv6Prefix(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1":                "192.0.2.1",
		"::ffff:192.0.2.1":         "192.0.2.1",
		"2001:db8:1:2:3:4:5:6":     "2001:db8:1:2::",
		"fe80::1%eth0":             "fe80::",
		"::ffff:192.0.2.1%ignored": "192.0.2.1",
	} {
		if got := networkOf(netip.MustParseAddr(text)); got != netip.MustParseAddr(want) {
			t.Errorf("%s: %v, want %s", text, got, want)
		}
	}
	if got := networkOf(netip.Addr{}); got.IsValid() {
		t.Errorf("no address: %v", got)
	}
}
