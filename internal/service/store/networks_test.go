package store

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"
)

// someNetworks are networks at run time.
var someNetworks = Networks{
	Allow: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
	Block: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
}

// setNetworks returns a change to them, which fails with err if that is not nil.
func setNetworks(to Networks, err error) func(Networks) (Networks, error) {
	return func(Networks) (Networks, error) { return to, err }
}

// checkNetworks checks what s has, and whether it is on the disk.
func checkNetworks(t *testing.T, s *Store, want Networks, stored bool) {
	t.Helper()
	if got, unstored := s.Networks(); !reflect.DeepEqual(got, want) || (unstored == nil) != stored {
		t.Errorf("%v, %v", got, unstored)
	}
}

// Networks that were set at run time are there in the next run. After an error of the change
// they are those of before, and a file that is damaged is set aside.
func TestNetworksAreKept(t *testing.T) {
	dir := t.TempDir()
	s, _ := opened(t, dir, Options{})
	if err := s.UpdateNetworks(setNetworks(someNetworks, nil)); err != nil {
		t.Fatal(err)
	}
	mistake := errors.New("a mistake")
	if err := s.UpdateNetworks(setNetworks(Networks{}, mistake)); err != mistake {
		t.Error(err)
	}
	checkNetworks(t, s, someNetworks, true)
	closed(t, s)
	s, _ = opened(t, dir, Options{})
	checkNetworks(t, s, someNetworks, true)
	closed(t, s)
	for _, payload := range []string{"", "{", `{"block": [}`} {
		write(t, dir, kindNetworks, makeFile(kindNetworks, []byte(payload)))
		s, _ = opened(t, dir, Options{})
		checkNetworks(t, s, Networks{}, true)
		if status := s.Status(); status.Err != nil || len(status.Damaged) != 1 {
			t.Errorf("%s: %+v", payload, status)
		}
		closed(t, s)
	}
}

// If the disk cannot be written, networks that are set are in memory, and are written when
// it can. A store that another process has, or that was not read, is not changed.
func TestNetworksAreInMemoryUntilTheDiskWorks(t *testing.T) {
	dir := t.TempDir()
	s, _ := opened(t, dir, Options{})
	disk, full := s.replace, errors.New("the disk is full")
	s.replace = func(string, string, []byte) error { return full }
	if err := s.UpdateNetworks(setNetworks(someNetworks, nil)); err != nil {
		t.Fatal(err)
	}
	checkNetworks(t, s, someNetworks, false)
	if err := s.Status().Err; !errors.Is(err, full) {
		t.Error(err)
	}
	other := Open(dir, Options{})
	if err := other.UpdateNetworks(setNetworks(Networks{}, nil)); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	other.Close()
	s.replace = disk
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	checkNetworks(t, s, someNetworks, true)
	closed(t, s)
	s, _ = opened(t, dir, Options{})
	checkNetworks(t, s, someNetworks, true)
	closed(t, s)
}
