//go:build unix

package logwriter

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A line is appended as one of its own. A FIFO without a reader, which would lose it, is an error.
func TestAppendLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, step := range []struct{ before, want string }{{"", "line\n"}, {"whole\n", "whole\nline\n"}, {"to", "to\nline\n"}} {
		if err := os.WriteFile(path, []byte(step.before), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := AppendLine(path, []byte("line\n")); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); string(text) != step.want {
			t.Errorf("%q, %v, want %q", text, err, step.want)
		}
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := AppendLine(fifo, []byte("line\n")); err == nil {
		t.Error("a FIFO without a reader takes a line")
	}
}
