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
		return os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	}
	return file, err
}
