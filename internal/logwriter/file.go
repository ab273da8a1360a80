package logwriter

import (
	"os"
	"time"
)

// filePermission keeps other users from reading a log: it may have clients' addresses.
const filePermission = 0o600

// reopenLimit is how long Reopen waits for a slow disk.
const reopenLimit = time.Second

// File is a Writer to a file that can be reopened, after another program has renamed
// it.
type File struct {
	*Writer
	path string
	file *os.File // under Writer.mu
}

// Open returns a File that appends to the file at path, which it creates if there is
// none. notice is that of New.
func Open(path string, notice func(dropped int) []byte) (*File, error) {
	file, err := openFile(path)
	if err != nil {
		return nil, err
	}
	return &File{Writer: New(file, notice), path: path, file: file}, nil
}

func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, filePermission)
}

// Reopen opens the path again, for lines that come from now on. Those before it are
// written first, unless the disk is too slow: then they follow. After an error the file
// stays as it was.
func (f *File) Reopen() error {
	next, err := openFile(f.path)
	if err != nil {
		return err
	}
	f.Flush(reopenLimit)
	f.mu.Lock()
	last := f.file
	f.file, f.dst = next, next
	f.replaced++
	f.mu.Unlock()
	return last.Close() // a write that fails for this continues in next
}
