//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// contains reports whether the file has text.
func contains(path, text string) bool {
	b, err := os.ReadFile(path)
	return err == nil && bytes.Contains(b, []byte(text))
}

// SIGHUP ends neither the server nor its connections. It opens the log file again, so
// that a renamed one gets no more lines.
func TestHangupReopensTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var stderr bytes.Buffer
	s := startServer(t, func(cmd *exec.Cmd) { cmd.Stderr = &stderr }, "--log-file", path)
	conn := s.connect(t)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "a new file", func() bool { return contains(path, `msg="reopened the log file"`) })
	receiveResPQ(t, conn)
	conn.Close()
	eventually(t, "a line", func() bool { return contains(path, "msg=closed") })
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if !contains(path+".1", "msg=limits") || contains(path+".1", "reopened") || contains(path, "msg=limits") {
		t.Error("lines are in the wrong file")
	}
	if text := stderr.String(); strings.Contains(text, "level=") {
		t.Errorf("the log is on standard error: %s", text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read the log: %v, %v", info.Mode(), err)
	}
}

// If the log file cannot be opened again, the log goes on in the old one.
func TestFailedReopeningKeepsTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := startServer(t, nil, "--log-file", path)
	s.ask(t)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "an error", func() bool {
		return contains(path+".1", `level=ERROR msg="the log file cannot be opened again, the old one stays in use"`)
	})
	s.ask(t)
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// Without a log file SIGHUP does nothing.
func TestHangupDoesNotEndTheServer(t *testing.T) {
	s := startServer(t, nil)
	conn := s.connect(t)
	for range 3 {
		s.Process.Signal(syscall.SIGHUP)
		receiveResPQ(t, conn)
	}
	s.ask(t)
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
