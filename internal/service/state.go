package service

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/mtwire/mtwire/internal/service/store"
)

// DefaultState describes the directory for state that is used by default on a system,
// a runtime.GOOS, for the help.
func DefaultState(system string) string {
	if system == "windows" {
		return `%LOCALAPPDATA%\mtwire`
	}
	return "$STATE_DIRECTORY, $XDG_STATE_HOME/mtwire or ~/.local/state/mtwire"
}

// stateDirectory returns the directory for state that outlives a run: the
// configured one, or else the one that systemd made for the service, or else the
// user's. On Windows that is in the local application data, which no other user may
// read, and which does not follow the user to other machines.
//
// Specifications:
// https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#RuntimeDirectory=
// https://specifications.freedesktop.org/basedir-spec/latest/#variables
// https://learn.microsoft.com/en-us/windows/win32/shell/knownfolderid#FOLDERID_LocalAppData
func stateDirectory(configured string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	// The variable may list several directories. The first is ours.
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), string(filepath.ListSeparator)); dir != "" {
		return dir, nil
	}
	// Relative paths are to be ignored.
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "mtwire"), nil
	}
	if runtime.GOOS == "windows" {
		dir, err := os.UserCacheDir() // %LOCALAPPDATA%
		if err != nil || !filepath.IsAbs(dir) {
			return "", configError("state", "no directory: %%LOCALAPPDATA%% is not set; set one")
		}
		return filepath.Join(dir, "mtwire"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", configError("state", "no directory: this user has no home directory; set one")
	}
	return filepath.Join(home, ".local", "state", "mtwire"), nil
}

// writeNew creates a file that only its owner can read. The file is complete as
// soon as it has its name, also after a crash. If there is a file of that name, the
// error is fs.ErrExist.
//
// link is os.Link: a hard link, unlike a rename, does not replace an existing file.
// Some file systems have no hard links, such as FAT and those that Android gives to
// apps. There the file is renamed if there is none of that name, and of two
// processes that do so in the same moment the later one replaces the file.
func writeNew(path, text string, link func(from, to string) error) error {
	return writeComplete(path, text, func(from, to string) error {
		err := link(from, to)
		if err == nil || errors.Is(err, fs.ErrExist) {
			return err
		}
		if _, err := os.Lstat(to); err == nil {
			return fs.ErrExist
		}
		return os.Rename(from, to)
	})
}

// replaceFile is writeNew for a file that may exist, which it replaces.
func replaceFile(path, text string) error { return writeComplete(path, text, os.Rename) }

// writeComplete writes a file under another name and gives it its own with name.
func writeComplete(path, text string, name func(from, to string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after a rename there is none
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := name(f.Name(), path); err != nil {
		return err
	}
	return store.SyncDirectory(dir)
}
