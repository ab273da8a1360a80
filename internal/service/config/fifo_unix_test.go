//go:build unix

package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A FIFO without a writer is given up after a time, with its path in the error.
func TestAFIFOWithoutAWriterIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, begun := fifo(t), time.Now()
		_, err := ReadFile(path)
		if err == nil || !strings.Contains(err.Error(), path+": it is a FIFO that no program has written and closed in 15s") {
			t.Error(err)
		}
		if took := time.Since(begun); took < pipeTime || took > pipeTime+time.Second {
			t.Errorf("after %v", took)
		}
	})
}

// So is one whose writer does not close it.
func TestAFIFOThatIsNotClosedIsGivenUp(t *testing.T) {
	path := fifo(t)
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	for range 2 {
		if _, err := readPipe(path, 20*time.Millisecond); err == nil || !strings.Contains(err.Error(), "FIFO") {
			t.Error(err)
		}
		writer.WriteString("listen")
	}
}

// What a FIFO's writer has written is read, in whatever parts, also if it begins later.
func TestAFIFOIsReadUntilItIsClosed(t *testing.T) {
	path := fifo(t)
	written := make(chan error, 1)
	go func() {
		writer, err := os.OpenFile(path, os.O_WRONLY, 0)
		for range 3 {
			if err == nil {
				_, err = writer.WriteString(strings.Repeat("x", 100_000))
			}
		}
		written <- errors.Join(err, writer.Close())
	}()
	data, err := ReadFile(path)
	if err != nil || len(data) != 300_000 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}
