package service

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestStateDirectoryIsTheFirstThatIsSet(t *testing.T) {
	type test struct{ configured, systemd, xdg, home, want string }
	tests := []test{
		{"/configured", "/systemd", "/xdg", "/home/me", "/configured"},
		{"relative", "", "", "", "relative"},
		{"", "/systemd", "/xdg", "/home/me", "/systemd"},
		{"", "/systemd:/second", "", "", "/systemd"},
		{"", "", "/xdg", "/home/me", "/xdg/mtwire"},
		{"", "", "relative", "/home/me", "/home/me/.local/state/mtwire"},
		{"", "", "", "/home/me", "/home/me/.local/state/mtwire"},
	}
	home := "HOME"
	if runtime.GOOS == "windows" {
		home = "LOCALAPPDATA"
		tests = []test{
			{`C:\configured`, `C:\systemd`, `C:\xdg`, `C:\me`, `C:\configured`},
			{"", `C:\systemd;C:\second`, "", "", `C:\systemd`},
			{"", "", `C:\xdg`, `C:\me`, `C:\xdg\mtwire`},
			{"", "", "", `C:\me`, `C:\me\mtwire`},
		}
	}
	for _, test := range tests {
		t.Setenv("STATE_DIRECTORY", test.systemd)
		t.Setenv("XDG_STATE_HOME", test.xdg)
		t.Setenv(home, test.home)
		if dir, err := stateDirectory(test.configured); dir != test.want || err != nil {
			t.Errorf("%+v: %q, %v", test, dir, err)
		}
	}
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv(home, "")
	if _, err := stateDirectory(""); err == nil || !strings.Contains(err.Error(), "state: no directory") {
		t.Errorf("without a home: %v", err)
	}
}

// Where there are no hard links, a file is complete when it has its name, too, and
// replaces no other.
func TestFilesAreWrittenWithoutHardLinks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	links := 0
	noLinks := func(from, to string) error {
		links++
		return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EPERM}
	}
	if err := writeNew(path, "first", noLinks); err != nil || links != 1 {
		t.Fatal(err)
	}
	for name, link := range map[string]func(from, to string) error{"with links": os.Link, "without": noLinks} {
		if err := writeNew(path, "second", link); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s, to a name that is taken: %v", name, err)
		}
	}
	text, err := os.ReadFile(path)
	if entries, _ := os.ReadDir(dir); err != nil || string(text) != "first" || len(entries) != 1 {
		t.Errorf("%q, %v, and %v in the directory", text, err, entries)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
