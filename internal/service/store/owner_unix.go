//go:build unix

package store

import (
	"os"
	"syscall"
)

// GiveToOwner gives a file of root's to the owner of its directory, so that root can
// add to the state of a proxy that runs as another user.
func GiveToOwner(f *os.File, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}
