//go:build unix

package logwriter

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openFIFO opens a FIFO and does not wait for a reader. It is open for reading as well, so that it
// keeps what is written while it has no other reader. Without the permission for that it must have
// one.
func openFIFO(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		return openReadFIFO(path)
	}
	return file, err
}

// openReadFIFO opens a FIFO, and fails if it has no reader.
func openReadFIFO(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
}
