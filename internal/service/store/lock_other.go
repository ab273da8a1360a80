//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package store

import (
	"os"
	"path/filepath"
)

// Locks is false: a process cannot tell whether another one writes a directory.
const Locks = false

// lockDirectory locks nothing: there is no lock that ends with its process. Two
// processes must not use one directory.
func lockDirectory(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
}
