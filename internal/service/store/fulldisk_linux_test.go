package store

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire/internal/service/users"
)

// On a real file system without room what was stored stays, also users, and everything
// is written when there is room again. Without the right to mount one, see
// TestADiskThatFailsLosesNothing.
func TestAFullFileSystemLosesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("store", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	s, source := opened(t, filepath.Join(dir, "store"), Options{})
	source.add("alice", 1, 0)
	list, _ := manyUsers(100)
	if err := s.Update(func([]users.User) ([]users.User, error) { return list, nil }); err != nil {
		t.Fatal(err)
	}
	flushed(t, s)

	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	for range 3 {
		source.add("alice", 1, 0)
		if err := s.Flush(); !errors.Is(err, syscall.ENOSPC) || s.Status().Err != err {
			t.Errorf("%v, %+v", err, s.Status())
		}
		if err := s.Update(func([]users.User) ([]users.User, error) { return userList(), nil }); !errors.Is(err, ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(s.dir, kindUsage)); err != nil || len(b) == 0 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	// A process that begins now finds what was stored.
	other := Open(s.dir, Options{})
	if up(other.Counters(), "alice") != 1 || len(other.Users()) != 100 || len(other.Status().Damaged) > 0 {
		t.Errorf("%+v, %d users, %+v", other.Counters(), len(other.Users()), other.Status())
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	flushed(t, s)
	closed(t, s)
	if s, _ = opened(t, s.dir, Options{}); up(s.Counters(), "alice") != 4 || len(s.Users()) != 100 {
		t.Errorf("%+v, %d users", s.Counters(), len(s.Users()))
	}
}
