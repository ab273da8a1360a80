//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package service

import (
	"fmt"
	"os"
	"syscall"
)

// shareLock locks a file, which it makes if it is missing, until the result is closed or
// the process ends in any way. It reports whether other processes have locked it as well.
func shareLock(path string) (lock *os.File, others bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, false, err
	}
	alone := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, false, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, alone != nil, nil
}
