//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// server is a process of mtwire proxy, in front of a loopback data centre.
type server struct {
	*exec.Cmd
	address string
	ended   chan error // has the result of Wait
}

// startServer starts mtwire proxy with a classic secret, and change before its start.
// The test ends it.
func startServer(t *testing.T, change func(*exec.Cmd), flags ...string) *server {
	t.Helper()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	dc := &mtwiretest.DataCenter{Listener: ln}
	go dc.Serve(t.Context())
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	flags = append([]string{"proxy", "--listen", address, "--secret", mtwiretest.PlainSecret, "--dc", "*=" + ln.Addr().String()}, flags...)
	s := &server{exec.Command("mtwire", flags...), address, make(chan error, 1)}
	s.Env = append(os.Environ(), "STATE_DIRECTORY="+t.TempDir())
	change(s.Cmd)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- s.Wait() }()
	t.Cleanup(func() { s.Process.Kill() })
	return s
}

// ask has a client receive resPQ, once the server listens, and end its connection.
func (s *server) ask(t *testing.T) {
	t.Helper()
	eventually(t, "an answer", func() bool {
		return askOnce(context.Background(), "tcp://"+s.address+"?secret="+mtwiretest.PlainSecret) == nil
	})
}

// connect returns the connection of a client that has received resPQ.
func (s *server) connect(t *testing.T) *mtwire.Conn {
	t.Helper()
	s.ask(t)
	conn, err := mtwire.Dial(t.Context(), "tcp://"+s.address+"?secret="+mtwiretest.PlainSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	receiveResPQ(t, conn)
	return conn
}

// receiveResPQ sends req_pq_multi and receives resPQ.
func receiveResPQ(t *testing.T, conn *mtwire.Conn) {
	t.Helper()
	if err := requestPQ(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
}

// stop sends a signal, after which the server must end soon.
func (s *server) stop(t *testing.T, signal os.Signal) error {
	t.Helper()
	s.Process.Signal(signal)
	select {
	case err := <-s.ended:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the server does not end")
		return nil
	}
}

// eventually waits until is returns true, for at most 20 seconds.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}

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
	_, w := fullPipe(t)
	s := startServer(t, func(cmd *exec.Cmd) { cmd.Stderr = w })
	for range 3 {
		s.ask(t)
	}
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// An error that is not read does not keep a server from ending either.
func TestUnreadErrorDoesNotStopTheServer(t *testing.T) {
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
