package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
)

// networks is the payload of the networks file.
type networks struct {
	Block []netip.Prefix `json:"block"`
}

var errNoNetwork = errors.New("a network is empty")

// decodeNetworks parses the payload of the networks file.
func decodeNetworks(payload []byte) (n networks, err error) {
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&n); err != nil {
		return n, err
	}
	for _, network := range n.Block {
		if !network.IsValid() {
			return n, errNoNetwork
		}
	}
	return n, nil
}

// Blocked returns the networks that were blocked at run time. The caller must not change
// them.
func (s *Store) Blocked() []netip.Prefix {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.networks.Block
}

// UpdateBlocked replaces the networks that were blocked at run time by what change returns
// for them. They are on the disk when it returns. If it returns an error, nothing has
// changed: it is change's, or wraps ErrUnavailable.
func (s *Store) UpdateBlocked(change func(list []netip.Prefix) ([]netip.Prefix, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.prepare(); err != nil {
		return errNotStored(errors.Join(ErrUnavailable, err))
	}
	list, err := change(slices.Clone(s.networks.Block))
	if err != nil {
		return err
	}
	payload, err := json.Marshal(networks{list})
	if err != nil {
		return err
	}
	if err := s.write(kindNetworks, payload); err != nil {
		return errNotStored(errors.Join(ErrUnavailable, err))
	}
	s.networks.Block = list
	return nil
}
