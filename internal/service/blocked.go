package service

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/mtwire/mtwire/internal/service/netlist"
	"github.com/mtwire/mtwire/internal/service/store"
)

// blockStored puts the networks in force that were blocked at run time, beside those of
// the files. The caller holds reloading once there are clients.
func (s *Service) blockStored() {
	if s.store != nil {
		s.access.SetAdded(netlist.New(s.store.Blocked()...))
	}
}

// blockedForAdmin is admin.Config.Blocked.
func (s *Service) blockedForAdmin() []netip.Prefix {
	if s.store == nil {
		return nil
	}
	return s.store.Blocked()
}

// updateBlocked is admin.Config.UpdateBlocked. What it changes is in force for the next
// connection; sessions go on.
func (s *Service) updateBlocked(change func([]netip.Prefix) ([]netip.Prefix, error)) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if s.store == nil {
		return fmt.Errorf("%w: there is no state directory", admin.ErrUnavailable)
	}
	err := s.store.UpdateBlocked(change)
	if errors.Is(err, store.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	}
	s.blockStored() // the store may have read the files again
	if err == nil {
		s.log.Info("the networks that are blocked at run time were changed", "networks", s.access.Counts().Added)
	}
	return err
}
