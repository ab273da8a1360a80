package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// command returns a command whose process leads a process group, so that its
// children can be killed with it. When ctx ends, the group is killed.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return killGroup(cmd) }
	// Wait does not wait longer for a child that left the group and still has
	// the output open.
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// runGroup waits for the end of a process, and then kills what is left of its
// group.
func runGroup(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	killGroup(cmd)
	return err
}

func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// server is a process that prints its listen address and serves until it is
// killed.
type server struct {
	cmd            *exec.Cmd
	stdout, stderr output
	address        string
	ended          chan struct{} // closed when the process has ended
}

// startTimeout bounds the time until a server listens.
const startTimeout = 20 * time.Second

// startServer starts a process and waits until it prints "listening on" and its
// address.
func startServer(ctx context.Context, name string, args ...string) (*server, error) {
	s := &server{cmd: command(ctx, name, args...), ended: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.stderr
	s.stderr.prefix, s.stderr.found = "listening on ", make(chan string, 1)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case s.address = <-s.stderr.found:
		return s, nil
	case <-s.ended:
	case <-timeout.C:
	}
	s.stop()
	return nil, fmt.Errorf("%s %s does not listen: %s", name, args[0], s.stderr.text())
}

// stop kills the process, if it has not ended. Its output stays readable.
func (s *server) stop() {
	select {
	case <-s.ended:
	default:
		killGroup(s.cmd)
		<-s.ended
	}
}

// output keeps the output of a process. The rest of the first line that begins
// with prefix is sent to found.
type output struct {
	prefix string // "" once it is found
	found  chan string

	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	if o.prefix == "" {
		return len(p), nil
	}
	for line := range strings.Lines(o.buf.String()) {
		if rest, ok := strings.CutPrefix(line, o.prefix); ok && strings.HasSuffix(rest, "\n") {
			o.found <- strings.TrimSpace(rest)
			o.prefix = ""
			break
		}
	}
	return len(p), nil
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(o.buf.String())
}
