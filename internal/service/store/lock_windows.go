package store

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// Locks is true: two processes never write a directory.
const Locks = true

// lockDirectory locks dir until the file is closed, or the process ends in any way: no
// other process can open the file meanwhile.
func lockDirectory(dir string) (*os.File, error) {
	path, err := syscall.UTF16PtrFromString(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	const sharingViolation = syscall.Errno(32)
	handle, err := syscall.CreateFile(path, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	switch {
	case errors.Is(err, sharingViolation):
		return nil, ErrLocked
	case err != nil:
		return nil, err
	}
	return os.NewFile(uintptr(handle), filepath.Join(dir, "lock")), nil
}
