//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Locks is true: two processes never write a directory.
const Locks = true

// lockDirectory locks dir until the file is closed, or the process ends in any way.
func lockDirectory(dir string) (*os.File, error) {
	f, err := OpenFile(filepath.Join(dir, "lock"), os.O_RDWR)
	if err != nil {
		return nil, err
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
	case nil:
		return f, nil
	case unix.EWOULDBLOCK:
		f.Close()
		return nil, ErrLocked
	default:
		f.Close()
		return nil, err
	}
}
