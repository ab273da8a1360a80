package store

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mtwire/mtwire/internal/service/users"
)

// A process that ends while another one has the store leaves what it has counted in a file of
// its own, which the one that has the store adds and removes. So it is after two upgrades,
// of which the second process has given all its sessions to the third while the first one
// still drains, and has the store. What is left is added twice if that one crashes after
// the usage file was written with it, and before the file was removed.

// leftPrefix is in front of the name of such a file, and random letters follow.
const leftPrefix = kindLeft + "-"

// counted is what a process has counted: its counters when it began, and when it ended.
type counted struct{ from, to []users.Counter }

// leave writes what this process has counted since it has read the files last, if it has
// counted anything. Under mu, without the lock.
func (s *Store) leave() error {
	payload, changed := appendLeft(nil, counted{s.loaded, s.source.Counters(nil)})
	if !changed {
		return nil
	}
	b := makeFile(kindLeft, payload)
	for attempts := 3; ; attempts-- {
		// Another process that gets the store at this moment may have removed the file before
		// it was complete: see removeBegun.
		err := s.replace(s.dir, leftPrefix+rand.Text(), b)
		if attempts == 1 || !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
}

// removeBegun removes the files that processes have begun to leave when they were killed. Under
// mu, with the lock.
func (s *Store) removeBegun() {
	begun, _ := filepath.Glob(filepath.Join(s.dir, leftPrefix+"*"+newSuffix))
	for _, path := range begun {
		os.Remove(path)
	}
}

// appendLeft appends the payload of a file: the length of a usage file's payload, that one,
// and another. It also reports whether they differ.
func appendLeft(b []byte, c counted) (payload []byte, changed bool) {
	from, was := appendUsage(nil, &usage{counters: c.from})
	to, is := appendUsage(nil, &usage{counters: c.to})
	b = binary.AppendUvarint(b, uint64(len(from)))
	return append(append(b, from...), to...), was != is
}

// parseLeft parses what appendLeft appends.
func parseLeft(payload []byte) (c counted, err error) {
	length, n := binary.Uvarint(payload)
	if n <= 0 || length > uint64(len(payload)-n) {
		return c, errRecord
	}
	from, err := parseUsage(payload[n:][:length])
	if err != nil {
		return c, err
	}
	to, err := parseUsage(payload[n:][length:])
	if err != nil {
		return c, err
	}
	return counted{from.counters, to.counters}, nil
}

// maxLeft is the maximum number of files that are added with one write of the usage file, which
// names them.
const maxLeft = 32

// addLeft adds what other processes have left to the counters, once. Under mu, with the lock.
func (s *Store) addLeft() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if len(s.left) == maxLeft {
			return nil // the others follow with the next write
		}
		name := entry.Name()
		// A name with a dot is that of a file which is being written, or was damaged.
		if !strings.HasPrefix(name, leftPrefix) || strings.Contains(name, ".") || s.left[name] {
			continue
		}
		if !s.stored[name] { // otherwise a crash came before its removal
			c, err := readFile(s, name, kindLeft, parseLeft)
			if err != nil {
				return err
			}
			s.source.Merge(c.from, c.to)
		}
		if s.left == nil {
			s.left = make(map[string]bool)
		}
		s.left[name] = true
	}
	return nil
}

// removeLeft removes what addLeft has added, when the usage file has it. Under mu, with the
// lock.
func (s *Store) removeLeft() (err error) {
	if len(s.left) == 0 {
		return nil
	}
	var removed []string
	for name := range s.left {
		failed := os.Remove(filepath.Join(s.dir, name))
		if failed == nil || errors.Is(failed, os.ErrNotExist) {
			removed = append(removed, name)
		} else {
			err = failed
		}
	}
	if failed := SyncDirectory(s.dir); failed != nil {
		return failed // a power failure may bring them back, so the usage file still names them
	}
	for _, name := range removed {
		delete(s.left, name)
	}
	return err
}

// leftNames returns the names of the files that the counters have, without their prefix.
func (s *Store) leftNames() (names []string) {
	for name := range s.left {
		names = append(names, strings.TrimPrefix(name, leftPrefix))
	}
	slices.Sort(names)
	return names
}
