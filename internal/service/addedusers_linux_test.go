package service

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A disk that has room for a part of the line of a new user only leaves the file as it was:
// a proxy starts with it. The next user is added when there is room again.
func TestAUserForWhichTheDiskHasNoRoomLeavesNoPart(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("state", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	config := keptConfig(t)
	config.State = filepath.Join(dir, "state")
	firstRun(t, config)
	alice := add(t, config, "alice")

	path, page := filepath.Join(config.State, usersFile), os.Getpagesize()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	comment := append(bytes.Repeat([]byte("#"), page-len(text)-11), '\n')
	text = append(text, comment...) // 10 bytes are left of a page
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, page))
	}
	f.Close()
	if _, _, err := AddUser(config, "bob", discard); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, text) {
		t.Errorf("the file ends in %q, %v", got[min(len(got), len(text)):], err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	bob := add(t, config, "bob")
	if links := linksOf(listening(t, config)); len(links) != 3 || links[1].Secret != alice.Secret || links[2].Secret != bob.Secret {
		t.Error(links)
	}
}

// unsynced is a file of a file system that finds no room when it is synced, such as NFS.
type unsynced struct{ *os.File }

func (unsynced) Sync() error { return syscall.ENOSPC }

// A line that cannot be synced is not left in the file either.
func TestALineThatIsNotSyncedLeavesNoPart(t *testing.T) {
	const before = "alice=1\n"
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := appendText(unsynced{f}, int64(len(before)), "bob=2\n"); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); string(text) != before {
		t.Errorf("%q, %v", text, err)
	}
}
