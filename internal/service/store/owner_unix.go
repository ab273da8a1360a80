//go:build unix

package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// otherOwner returns the owner of a directory if root, as which this process runs, writes
// there for another user.
func otherOwner(dir string) (owner *syscall.Stat_t, err error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
		return owner, nil
	}
	return nil, nil
}

// OpenFile opens a file with flag, or makes it: only its owner can read it. Root can so add
// to the state of a proxy that runs as another user: a file that is made belongs to the
// owner of its directory. That user must not get anything else by it: a link that is there
// is not followed then, and a file that is there keeps its owner.
func OpenFile(path string, flag int) (*os.File, error) {
	owner, err := otherOwner(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if owner == nil {
		return os.OpenFile(path, flag|os.O_CREATE, 0o600)
	}
	f, err := os.OpenFile(path, flag|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return os.OpenFile(path, flag&^os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	}
	if err != nil {
		return nil, err
	}
	if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// checkDirectory returns an error if dir is a link that another user than root may have
// laid, and this process runs as root.
func checkDirectory(dir string) error {
	owner, err := otherOwner(filepath.Dir(dir))
	if owner == nil || err != nil {
		if errors.Is(err, fs.ErrNotExist) { // it is made with all above
			return nil
		}
		return err
	}
	if info, err := os.Lstat(dir); err == nil && info.Mode().Type() == fs.ModeSymlink {
		return &fs.PathError{Op: "open", Path: dir, Err: errors.New("root does not follow the link there: run this as the user of the proxy")}
	}
	return nil
}

// giveDirectory gives a directory that root has made to the owner of the one above.
func giveDirectory(dir string) error {
	owner, err := otherOwner(filepath.Dir(dir))
	if owner == nil {
		return err
	}
	d, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Chown(int(owner.Uid), int(owner.Gid))
}
