//go:build unix

package logwriter

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A log that is a FIFO waits for no reader, neither at first nor when it is opened again, and no
// line is lost: neither before there is one nor between two.
func TestAFIFOWithoutAReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path, notice)
	if err != nil {
		t.Fatal(err)
	}
	write := func(line string) {
		t.Helper()
		io.WriteString(f, line)
		flush(t, f.Writer)
	}
	read := func(lines ...string) {
		t.Helper()
		reader, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		scanner := bufio.NewScanner(reader)
		for _, want := range lines {
			if scanner.Scan(); scanner.Text() != want {
				t.Errorf("%q, want %q", scanner.Text(), want)
			}
		}
	}
	write("first\n")
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	write("second\n")
	read("first", "second")
	write("third\n")
	read("third")
	if !f.Close(time.Minute) {
		t.Error("not everything was written")
	}
}
