package service

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/mtwire/mtwire/internal/service/users"
)

// A change over the admin listener that has waited for the end of an upgrade is refused: the process
// that has taken over has read what there was before, and would not know of it.
func TestChangesThatWaitForAnUpgradeAreRefused(t *testing.T) {
	config := testConfig(t)
	config.State = t.TempDir()
	s := listening(t, config)
	changes := map[string]func() error{
		"users": func() error {
			return s.updateForAdmin(func(list []users.User) ([]users.User, error) {
				return append(list, users.User{Name: "bob", Secrets: s.limited[0].Secrets[:0]}), nil
			})
		},
		"networks": func() error {
			_, err := s.updateNetworks(admin.BlockList, func(list []netip.Prefix) ([]netip.Prefix, error) {
				return append(list, netip.MustParsePrefix("192.0.2.0/24")), nil
			})
			return err
		},
		"reload": func() error {
			_, err := s.reloadForAdmin(func() error { return nil })
			return err
		},
	}
	close(s.upgrade.done)
	for name, change := range changes {
		if err := change(); !errors.Is(err, admin.ErrUnavailable) || !errors.Is(err, errTakenOver) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list := s.store.Users(); len(list) > 0 {
		t.Errorf("%d users were stored", len(list))
	}
	if s.access.Counts().BlockAdded > 0 {
		t.Error("a network is blocked")
	}
}
