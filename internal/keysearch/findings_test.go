package keysearch

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
)

// A search that is given the findings of another one finds the clients of known addresses
// among few keys, and the secrets of the latest newcomers anywhere, whatever their places
// among the entries are. Secrets that are gone are forgotten.
func TestFindingsAreCarriedOver(t *testing.T) {
	before := newTestServer(entriesOf(0, 200, mtproxy.Padded, ""))
	home, office := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, i := range []int{150, 3, 7} {
		before.accept(home, initOf(t, keyOf(i), frame.PaddedIntermediate))
	}
	before.accept(office, initOf(t, keyOf(9), frame.PaddedIntermediate))
	s := newTestServer(entriesOf(1, 140, mtproxy.Padded, "")) // without 150
	restorer := s.Restorer()
	for f := range before.Findings() {
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var again Finding
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatal(err)
		}
		restorer.Add(again)
	}
	restorer.Add(Finding{Address: home, Secrets: []SecretID{nil, make([]byte, 16), make([]byte, 17)}})
	for _, c := range []struct {
		from  netip.Addr
		i     int
		tried int
	}{
		{home, 3, 2}, {home, 7, 2}, {office, 9, 1},
		{netip.MustParseAddr("198.51.100.1"), 9, 3}, // a newcomer: 9, 7 and 3 were
	} {
		if entry, tried := s.accept(c.from, initOf(t, keyOf(c.i), frame.PaddedIntermediate)); entry != c.i-1 || tried != c.tried {
			t.Errorf("client %d from %v is found as %d, %d keys tried, want %d", c.i, c.from, entry, tried, c.tried)
		}
	}
}
