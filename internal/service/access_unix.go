//go:build unix

package service

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// maxSocketPath limits the path of a Unix socket, in bytes.
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

// mayWrite returns an error if this process may not write to a file, or make files in a
// directory. It changes nothing, not even times.
func mayWrite(path string) error {
	if err := unix.Access(path, unix.W_OK); err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// isDisk reports whether err is about a disk that is full or read-only, and not about a
// path or the right to use it.
func isDisk(err error) bool {
	return errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
