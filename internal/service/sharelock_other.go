//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package service

import "os"

// shareLock locks nothing: this system has no lock that several processes share. So no
// process takes the socket of another one.
func shareLock(string) (lock *os.File, others bool, err error) { return nil, false, nil }
