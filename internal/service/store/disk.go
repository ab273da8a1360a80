package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// newSuffix is behind the name of a file that is being written. Only the process with
// the lock writes, so there is one for each file, and a crash leaves no more.
const newSuffix = ".new"

// replaceFile replaces a file of dir, which only its owner can read. It is complete when
// it has its name, also after a crash. After an error the file is as it was.
func replaceFile(dir, name string, b []byte) error {
	path := filepath.Join(dir, name)
	os.Remove(path + newSuffix) // of a crash
	f, err := OpenFile(path+newSuffix, os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+newSuffix, path)
	}
	if err != nil {
		os.Remove(path + newSuffix) // a full disk has no room for it
		return err
	}
	return SyncDirectory(dir)
}

// makeDirectory makes the directory of a store, if there is none. It belongs to the owner of
// the one above, as its files do.
func makeDirectory(dir string) error {
	if err := checkDirectory(dir); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return giveDirectory(dir)
}

// SyncDirectory makes a new name survive a power failure. Windows does not provide that.
func SyncDirectory(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// readFile parses a file of a kind. Without a file, and if it is damaged and was set
// aside, the result is the zero value. A file that is whole and of another version stays
// where it is, and is an error: a program that was replaced by the one before must find its
// users when it comes back. The same holds for what an operator has entered, if this program
// does not know all of it.
func readFile[T any](s *Store, name, kind string, parse func([]byte) (T, error)) (value T, err error) {
	b, err := readBounded(filepath.Join(s.dir, name))
	var payload []byte
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return value, nil
	case err == nil:
		if payload, err = parseFile(b, kind); err == nil {
			if value, err = parse(payload); err != nil && (kind == kindUsers || kind == kindNetworks) && json.Valid(payload) {
				err = fmt.Errorf("%w: %w", errVersion, err)
			}
		}
	case !errors.Is(err, errTooLong):
		return value, err
	}
	var none T
	switch {
	case errors.Is(err, errVersion):
		return none, fmt.Errorf("%s stays as it is: %w", name, err)
	case err != nil:
		return none, s.setAside(name, err)
	}
	return value, nil
}

var errTooLong = errors.New("the file is too long")

// readBounded reads a file of at most maxFile bytes.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, errTooLong
	}
	b := make([]byte, info.Size())
	n, err := io.ReadFull(f, b)
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		err = nil
	}
	return b[:n], err
}

// setAside renames a damaged file. It returns an error if that fails, also if another
// process has the store, which does so itself.
func (s *Store) setAside(name string, cause error) error {
	if s.lock == nil {
		return fmt.Errorf("%s is damaged: %w", name, cause)
	}
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.damaged%d", name, n)
		if _, err := os.Lstat(filepath.Join(s.dir, aside)); err == nil {
			continue
		}
		if err := os.Rename(filepath.Join(s.dir, name), filepath.Join(s.dir, aside)); err != nil {
			return fmt.Errorf("%s is damaged: %w", name, errors.Join(cause, err))
		}
		s.status.Damaged = append(s.status.Damaged, aside)
		s.show()
		s.log.Warn("a file of the store is damaged: it is set aside", "directory", s.dir, "file", name, "renamed", aside, "error", cause)
		return nil
	}
}
