//go:build unix

package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fullPipe returns a pipe that takes no more bytes until it is read.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := w.Write(make([]byte, 1<<21)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return r, w
}

// A log that is not read neither keeps a server from starting and serving, nor from
// ending.
func TestUnreadLogDoesNotStopTheServer(t *testing.T) {
	t.Parallel()
	_, w := fullPipe(t)
	s := startServer(t, func(cmd *exec.Cmd) { cmd.Stderr = w })
	for range 3 {
		s.ask(t)
	}
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// Links that are not read do not keep a server from ending.
func TestUnreadLinksDoNotStopTheEnd(t *testing.T) {
	t.Parallel()
	_, w := fullPipe(t)
	s := startServer(t, func(cmd *exec.Cmd) { cmd.Stdout = w }, "--print-links")
	eventually(t, "a listener", func() bool {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// An error that is not read does not keep a server from ending either.
func TestUnreadErrorDoesNotStopTheServer(t *testing.T) {
	t.Parallel()
	_, w := fullPipe(t)
	s := startServer(t, func(cmd *exec.Cmd) { cmd.Stderr = w }, "--drain", "-1s")
	var exit *exec.ExitError
	if err := s.stop(t, syscall.Signal(0)); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Error(err)
	}
}

// A log whose reader goes on has all lines, or the number of those that are missing.
func TestLogIsCompleteWhenItsReaderGoesOn(t *testing.T) {
	r, w := fullPipe(t)
	s := startServer(t, func(cmd *exec.Cmd) { cmd.Stderr = w }, "--log-json")
	for range 3 {
		s.ask(t)
	}
	w.Close()
	text := make(chan []byte)
	go func() {
		var b bytes.Buffer
		b.ReadFrom(r)
		text <- b.Bytes()
	}()
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	lines := strings.TrimLeft(string(<-text), "\x00")
	if n := len(regexp.MustCompile(`"msg":"closed","stage":"first byte down"`).FindAllString(lines, -1)); n != 3 {
		t.Errorf("%d lines of 3 connections: %s", n, lines)
	}
}

// A server outlives the reader of its log.
func TestServerOutlivesTheReaderOfItsLog(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t, func(cmd *exec.Cmd) { cmd.Stderr = w })
	w.Close()
	r.Close()
	for range 3 {
		s.ask(t)
	}
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
