//go:build unix

package service

import (
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
