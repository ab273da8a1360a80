//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// server is a process of mtwire proxy, in front of a loopback data centre.
type server struct {
	*exec.Cmd
	address string
	ended   chan error // has the result of Wait
}

// startServer starts mtwire proxy on a free address, as startCommand does.
func startServer(t *testing.T, change func(*exec.Cmd), flags ...string) *server {
	t.Helper()
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	command := append([]string{"mtwire", "proxy", "--listen", address, "--dc", "*=" + startDataCenter(t)}, flags...)
	return startCommand(t, address, change, command...)
}

// patient has the processes of a proxy wait for what a slow machine does in the end.
func patient(cmd *exec.Cmd) { patientFor(patience)(cmd) }

// patientFor is patient for a test that waits for the end of idle sessions.
func patientFor(idle time.Duration) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, patientVariable+"="+idle.String()) }
}

// startDataCenter starts a loopback data centre, and returns its address.
func startDataCenter(t *testing.T) string {
	t.Helper()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	go (&mtwiretest.DataCenter{Listener: ln}).Serve(t.Context())
	return ln.Addr().String()
}

// startCommand starts a command that becomes mtwire proxy on address, with a classic
// secret, and change before its start. The test ends it.
func startCommand(t *testing.T, address string, change func(*exec.Cmd), command ...string) *server {
	t.Helper()
	command = append(command, "--secret", mtwiretest.PlainSecret)
	s := &server{exec.Command(command[0], command[1:]...), address, make(chan error, 1)}
	s.Env = append(os.Environ(), "STATE_DIRECTORY="+t.TempDir())
	if change != nil {
		change(s.Cmd)
	}
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
	s.awaitServing(t, "an answer", mtwiretest.PlainSecret)
}

// awaitServing waits until a client with a secret is answered. Before that there may be no answer
// to it, for which it waits longer and longer: on a busy machine any limit may be too short.
func (s *server) awaitServing(t *testing.T, what, secret string) {
	t.Helper()
	limit := time.Second
	eventually(t, what, func() bool {
		err := askWithin(t.Context(), limit, "tcp://"+s.address+"?secret="+secret)
		if errors.Is(err, context.DeadlineExceeded) {
			limit *= 2
		}
		return err == nil
	})
}

// serves reports whether a client with a secret is answered now, as it is to be.
func (s *server) serves(t *testing.T, secret string) bool {
	t.Helper()
	return askWithin(t.Context(), patience, "tcp://"+s.address+"?secret="+secret) == nil
}

// refuses reports whether a client with a secret gets no answer, as is to be.
func (s *server) refuses(t *testing.T, secret string) bool {
	t.Helper()
	return askOnce(t.Context(), "tcp://"+s.address+"?secret="+secret) != nil
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

// eventually waits until is returns true, for as long as patience.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}
