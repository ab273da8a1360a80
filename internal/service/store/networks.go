package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
)

// Networks are those that clients may connect from, and those that they may not, as they
// were set at run time. It is the payload of the networks file.
type Networks struct {
	Allow []netip.Prefix `json:"allow,omitempty"`
	Block []netip.Prefix `json:"block"`
}

// Clone returns a copy, which the caller may change.
func (n Networks) Clone() Networks { return Networks{slices.Clone(n.Allow), slices.Clone(n.Block)} }

var errNoNetwork = errors.New("a network is empty")

// decodeNetworks parses the payload of the networks file.
func decodeNetworks(payload []byte) (n Networks, err error) {
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&n); err != nil {
		return n, err
	}
	for _, network := range slices.Concat(n.Allow, n.Block) {
		if !network.IsValid() {
			return n, errNoNetwork
		}
	}
	return n, nil
}

// Networks returns the networks that were set at run time, and why they are not on the
// disk, nil if they are. The caller must not change them.
func (s *Store) Networks() (now Networks, unstored error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.networks.now, s.networks.unstored
}

// runTimeNetworks are the networks of a Store.
type runTimeNetworks struct {
	now      Networks
	read     bool  // the file was read, or there was none
	unstored error // why now is not on the disk
}

// loadNetworks reads the networks file, unless memory has what could not be written.
func (s *Store) loadNetworks() error {
	read, err := readFile(s, kindNetworks, kindNetworks, decodeNetworks)
	if err != nil {
		return err
	}
	if s.networks.read = true; s.networks.unstored == nil {
		s.networks.now = read
	}
	return nil
}

// UpdateNetworks replaces the networks that were set at run time by what change returns for
// them. If it returns an error, nothing has changed: it is change's, or wraps
// ErrUnavailable, because another process has the store, or its file cannot be read.
//
// Otherwise they are on the disk when it returns or, if the disk cannot be written, in
// memory, and are written as soon as it can: see Networks.
func (s *Store) UpdateNetworks(change func(Networks) (Networks, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := s.prepare()
	if failed != nil && (errors.Is(failed, ErrLocked) || !s.networks.read) {
		return errNotStored(errors.Join(ErrUnavailable, failed))
	}
	next, err := change(s.networks.now.Clone())
	if err != nil {
		return err
	}
	s.networks.now, s.networks.unstored = next, failed
	if failed == nil {
		failed = s.writeNetworks()
	}
	if failed != nil {
		s.note(failed)
	}
	return nil
}

// writeNetworks writes the networks file, and notes whether that fails.
func (s *Store) writeNetworks() error {
	payload, err := json.Marshal(s.networks.now)
	if err == nil {
		err = s.write(kindNetworks, payload)
	}
	s.networks.unstored = err
	return err
}
