package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mtwire/mtwire/internal/service/users"
)

// Users returns the users that were added at run time. The caller must not change them.
func (s *Store) Users() []users.User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.added
}

// Loads returns how often the files were read. If that is more than before, Users may be
// those of another process.
func (s *Store) Loads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads
}

// ErrUnavailable means that the users cannot be changed, because another process has the
// store or the disk fails.
var ErrUnavailable = errors.New("the store cannot be written")

// Update replaces the users that were added at run time by what change returns for them.
// They are on the disk when it returns. If it returns an error, nothing has changed: it
// is change's, or wraps ErrUnavailable.
func (s *Store) Update(change func(list []users.User) ([]users.User, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.prepare(); err != nil {
		return errNotStored(errors.Join(ErrUnavailable, err))
	}
	list, err := change(slices.Clone(s.added))
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Source = users.Store
	}
	if list, err = users.Merge(list); err != nil {
		return err
	}
	payload, err := encodeUsers(list, s.added)
	if err != nil {
		return err
	}
	if err := s.write(kindUsers, payload); err != nil {
		return errNotStored(errors.Join(ErrUnavailable, err))
	}
	s.added = list
	return nil
}

// UsersSize returns the length of the file with the users in a store, in bytes, 0 if there is
// none: about 200 for each of them.
func UsersSize(dir string) int64 {
	info, err := os.Stat(filepath.Join(dir, kindUsers))
	if err != nil {
		return 0
	}
	return info.Size()
}

// ReadUsers returns the users in a store that another process may have, and changes
// nothing. Without a store there are none.
func ReadUsers(dir string) ([]users.User, error) {
	payload, err := readPayload(dir, kindUsers)
	if payload == nil || err != nil {
		return nil, err
	}
	return decodeUsers(payload)
}

// ReadCounters returns the counters in a store that another process may have, and changes
// nothing: that one has written them a few seconds ago. Without a store there are none.
func ReadCounters(dir string) ([]users.Counter, error) {
	payload, err := readPayload(dir, kindUsage)
	if payload == nil || err != nil {
		return nil, err
	}
	u, err := parseUsage(payload)
	if err != nil {
		return nil, err
	}
	return u.counters, nil
}

// readPayload returns the payload of a file, nil if there is none.
func readPayload(dir, kind string) ([]byte, error) {
	b, err := readBounded(filepath.Join(dir, kind))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseFile(b, kind)
}
