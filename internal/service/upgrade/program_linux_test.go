package upgrade

import (
	"os"
	"path/filepath"
	"testing"
)

// A program that others cannot change is still theirs to replace in a directory that they may
// write to, and behind a symbolic link in one.
func TestProgramsInDirectoriesOfOthers(t *testing.T) {
	own, others := t.TempDir(), t.TempDir()
	program, link := filepath.Join(own, "mtwire"), filepath.Join(others, "link")
	for _, path := range []string{program, filepath.Join(others, "mtwire")} {
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		mode os.FileMode
		want bool
	}{{0o777, false}, {0o777 | os.ModeSticky, true}, {0o755, true}} {
		if err := os.Chmod(others, test.mode); err != nil {
			t.Fatal(err)
		}
		if !isTrustedPath(program) {
			t.Error("this user's is not trusted")
		}
		for _, path := range []string{filepath.Join(others, "mtwire"), link} {
			if isTrustedPath(path) != test.want {
				t.Errorf("%s in a directory of mode %v: want %v", filepath.Base(path), test.mode, test.want)
			}
		}
	}
}
