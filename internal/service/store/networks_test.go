package store

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
)

// Networks that were blocked at run time are there in the next run. After an error they
// are those of before, and a file that is damaged is set aside.
func TestBlockedNetworksAreKept(t *testing.T) {
	dir := t.TempDir()
	s, _ := opened(t, dir, Options{})
	want := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	set := func(err error) func([]netip.Prefix) ([]netip.Prefix, error) {
		return func(list []netip.Prefix) ([]netip.Prefix, error) { return append(list, want...), err }
	}
	if err := s.UpdateBlocked(set(nil)); err != nil {
		t.Fatal(err)
	}
	disk, full := s.replace, errors.New("the disk is full")
	s.replace = func(string, string, []byte) error { return full }
	if err := s.UpdateBlocked(set(nil)); !errors.Is(err, ErrUnavailable) || !errors.Is(err, full) {
		t.Error(err)
	}
	s.replace = disk
	if err := s.UpdateBlocked(set(full)); err != full {
		t.Error(err)
	}
	if got := s.Blocked(); !slices.Equal(got, want) {
		t.Error(got)
	}
	closed(t, s)
	s, _ = opened(t, dir, Options{})
	if got := s.Blocked(); !slices.Equal(got, want) {
		t.Error(got)
	}
	closed(t, s)
	for _, payload := range []string{"{", `{"block": [""]}`, `{"block": ["192.0.2.1"]}`, `{"allow": []}`} {
		write(t, dir, kindNetworks, makeFile(kindNetworks, []byte(payload)))
		s, _ = opened(t, dir, Options{})
		if status := s.Status(); len(s.Blocked()) != 0 || status.Err != nil || len(status.Damaged) != 1 {
			t.Errorf("%s: %v, %+v", payload, s.Blocked(), status)
		}
		closed(t, s)
	}
}
