package logwriter

import (
	"io/fs"
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
// none. If it is a FIFO, Open does not wait for a reader: the FIFO and the queue keep the lines
// until there is one. notice is that of New.
func Open(path string, notice func(dropped int) []byte) (*File, error) {
	file, err := openFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{Writer: New(file, notice), path: path, file: file}
	f.torn = endsInPartOfLine(file)
	return f, nil
}

// AppendLine appends a line to the file at path, which it creates if there is none, and begins a
// new one for it. A FIFO without a reader, which would lose the line, is an error.
func AppendLine(path string, line []byte) error {
	open := openFile
	if isFIFO(path) {
		open = openReadFIFO
	}
	file, err := open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if endsInPartOfLine(file) {
		line = append([]byte{'\n'}, line...)
	}
	_, err = file.Write(line)
	return err
}

func isFIFO(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&fs.ModeNamedPipe != 0
}

func openFile(path string) (*os.File, error) {
	if isFIFO(path) {
		return openFIFO(path)
	}
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, filePermission)
}

// endsInPartOfLine reports whether a file ends in a part of a line, such as one for which a process
// that was killed then had no room on the disk.
func endsInPartOfLine(file *os.File) bool {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	readable, err := os.Open(file.Name()) // file is for writing only
	if err != nil {
		return false
	}
	defer readable.Close()
	last := make([]byte, 1)
	_, err = readable.ReadAt(last, info.Size()-1)
	return err == nil && last[0] != '\n'
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
	torn := endsInPartOfLine(next)
	f.mu.Lock()
	last := f.file
	f.file, f.dst, f.torn = next, next, torn
	f.replaced++
	f.mu.Unlock()
	return last.Close() // a write that fails for this continues in next
}
