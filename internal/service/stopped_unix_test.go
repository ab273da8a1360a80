//go:build unix

package service

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What root writes to the store of a stopped proxy belongs to the proxy's user, which owns
// the state directory: otherwise the proxy could not start.
func TestAStoppedProxysFilesBelongToTheOwnerOfTheDirectory(t *testing.T) {
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
	stopped := openStopped(t, config)
	do(t, stopped.Client(), "POST", "/v1/users", withKey("bob", 2))
	if err := stopped.Close(); err != nil {
		t.Fatal(err)
	}
	found := 0
	filepath.WalkDir(config.State, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		found++
		if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != want {
			t.Errorf("the owner of %s is %d, want %d", path, owner, want)
		}
		return nil
	})
	if found < 4 { // two directories, the lock and the users
		t.Errorf("only %d files", found)
	}
}
