//go:build unix

package service

import (
	"log/slog"
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

// Links that the proxy's user has laid in its state directory give that user no file of
// root's, which runs mtwire user or mtwire secret there, and have root write nowhere else.
func TestRootFollowsNoLinksOfTheProxysUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root, and a directory of another user")
	}
	const other = 12345
	for _, name := range []string{"store/lock", "store/users.new", "store/usage.new", "store", usersFile} {
		config := keptConfig(t)
		outside := t.TempDir()
		target := filepath.Join(outside, "precious")
		link := filepath.Join(config.State, name)
		if name == "store" {
			target = outside
		} else if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{
			os.MkdirAll(filepath.Dir(link), 0o700), os.Symlink(target, link),
			os.Chown(config.State, other, other), os.Chown(filepath.Dir(link), other, other),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		log := slog.New(slog.DiscardHandler)
		if name == usersFile {
			AddUser(config, "alice", log)
		} else if stopped, err := OpenStopped(config, log); err == nil {
			do(t, stopped.Client(), "POST", "/v1/users", withKey("bob", 2))
			stopped.Close()
		}
		entries, err := os.ReadDir(outside)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil || name == "store" {
				t.Fatalf("%s: there is %v, %v", name, entry, err)
			}
			content, err := os.ReadFile(target)
			if owner := info.Sys().(*syscall.Stat_t).Uid; err != nil || owner != 0 || string(content) != "precious" {
				t.Errorf("%s: the owner of root's file is %d, and it has %q, %v", name, owner, content, err)
			}
		}
	}
}
