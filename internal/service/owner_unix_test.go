//go:build unix

package service

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A user that root adds can be read by the proxy's user, which owns the directory.
func TestAddedUsersBelongToTheOwnerOfTheDirectory(t *testing.T) {
	config := keptConfig(t)
	if err := os.Mkdir(config.State, 0o700); err != nil {
		t.Fatal(err)
	}
	want := os.Geteuid()
	if want == 0 {
		want = 12345
		if err := os.Chown(config.State, want, want); err != nil {
			t.Fatal(err)
		}
	}
	add(t, config, "alice")
	info, err := os.Stat(filepath.Join(config.State, usersFile))
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != want {
		t.Errorf("the owner is %d, want %d", owner, want)
	}
}
