package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The pages and completions of one program are the same wherever and whenever they are
// written, with the date of $SOURCE_DATE_EPOCH, so that packages of it are reproducible.
//
// Specification: https://reproducible-builds.org/specs/source-date-epoch/
func TestManualPagesAreReproducible(t *testing.T) {
	t.Parallel()
	write := func(environment ...string) map[string]string {
		dir := filepath.Join(t.TempDir(), "share")
		cmd := exec.Command("mtwire", "man", "--share", dir)
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "SOURCE_DATE_EPOCH=1795824000"}, environment...)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%v\n%s", err, out)
		}
		files := make(map[string]string)
		filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			name, _ := filepath.Rel(dir, path)
			files[filepath.ToSlash(name)] = string(text)
			return err
		})
		return files
	}
	first := write("TZ=Pacific/Kiritimati", "HOME=/a", "COLUMNS=40", "STATE_DIRECTORY=/s", "GOMAXPROCS=1")
	second := write("TZ=America/Los_Angeles", "LANG=de_DE.UTF-8", "MTWIRE_ADMIN=/a.sock", "MTWIRE_SECRETS=x")
	for name, text := range first {
		if second[name] != text {
			t.Errorf("%s differs", name)
		}
	}
	pages := 0
	for _, cmd := range documented(rootCommand()) {
		page := first["man/man1/"+manName(cmd)+".1"]
		pages++
		if title, _, _ := strings.Cut(page, "\n"); !strings.HasSuffix(title, ` 1 "2026\-11\-28" "mtwire" "User Commands"`) {
			t.Errorf("%s: %s", cmd.CommandPath(), title)
		}
	}
	scripts := []string{"bash-completion/completions/mtwire", "zsh/site-functions/_mtwire", "fish/vendor_completions.d/mtwire.fish"}
	for _, script := range scripts {
		if !strings.Contains(first[script], "mtwire") {
			t.Errorf("%s is missing", script)
		}
	}
	if len(first) != pages+len(scripts) || len(first) != len(second) {
		t.Errorf("%d files, and %d: want %d", len(first), len(second), pages+len(scripts))
	}
	if _, err := sourceDate("yesterday"); err == nil {
		t.Error("a date that is no number is taken")
	}
	if date, err := sourceDate(""); date != "" || err != nil {
		t.Error(date, err)
	}
}
