package service

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/mtwire/mtwire/internal/service/netlist"
	"github.com/mtwire/mtwire/internal/service/store"
)

// networks returns the networks that were allowed, and blocked, at run time, and why they
// are not kept for the next run, nil if they are.
func (s *Service) networks() (now store.Networks, unstored error) {
	if s.store == nil {
		return s.unkept, errNoStore
	}
	return s.store.Networks()
}

// listStored puts the networks in force that were allowed and blocked at run time, beside
// those of the files. The caller holds reloading once there are clients.
func (s *Service) listStored() {
	now, _ := s.networks()
	s.access.SetAdded(netlist.New(now.Allow...), netlist.New(now.Block...))
}

// networksForAdmin is admin.Config.Networks.
func (s *Service) networksForAdmin(name admin.ListName) admin.RunTimeList {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	return s.runTimeList(name)
}

// runTimeList returns one of the lists. Under reloading.
func (s *Service) runTimeList(name admin.ListName) admin.RunTimeList {
	now, unstored := s.networks()
	return admin.RunTimeList{Networks: *listOf(&now, name), NotStored: unstored}
}

func listOf(n *store.Networks, name admin.ListName) *[]netip.Prefix {
	if name == admin.AllowList {
		return &n.Allow
	}
	return &n.Block
}

// updateNetworks is admin.Config.UpdateNetworks. What it changes is in force for the next
// connection, also if it cannot be stored; sessions go on.
func (s *Service) updateNetworks(name admin.ListName, change func([]netip.Prefix) ([]netip.Prefix, error)) (admin.RunTimeList, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if s.upgrade.isDone() { // the other process has read them
		return s.runTimeList(name), fmt.Errorf("%w: %w", admin.ErrUnavailable, errTakenOver)
	}
	edit := func(now store.Networks) (store.Networks, error) {
		list := listOf(&now, name)
		next, err := change(*list)
		*list = next
		return now, err
	}
	var err error
	if s.store != nil {
		err = s.store.UpdateNetworks(edit)
	} else if next, editErr := edit(s.unkept.Clone()); editErr == nil {
		s.unkept = next
	} else {
		err = editErr
	}
	if errors.Is(err, store.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	}
	s.listStored() // the store may have read the files again
	now := s.runTimeList(name)
	if err == nil {
		s.log.Info("a list of networks was changed at run time", "list", string(name), "networks", len(now.Networks))
	}
	return now, err
}
