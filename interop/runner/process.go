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

// command is a process that leads a group of its own, so that all that it
// starts can be ended with it. When ctx ends, the group is killed.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return killGroup(cmd) }
	// Whoever left the group and still has the output is not waited for.
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// runGroup runs a process to its end, and ends what it left behind.
func runGroup(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	killGroup(cmd)
	return err
}

func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// server is a process that says where it listens and goes on until it is
// ended.
type server struct {
	cmd            *exec.Cmd
	stdout, stderr output
	address        string
	ended          chan struct{} // closed when it has ended
}

// startLimit is how long a server may take until it listens.
const startLimit = 20 * time.Second

// startServer starts a process and waits until it says "listening on".
func startServer(ctx context.Context, name string, args ...string) (*server, error) {
	s := &server{cmd: command(ctx, name, args...), ended: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.stderr
	s.stderr.wanted, s.stderr.found = "listening on ", make(chan string, 1)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case s.address = <-s.stderr.found:
		return s, nil
	case <-s.ended:
	case <-limit.C:
	}
	s.stop()
	return nil, fmt.Errorf("%s %s does not listen: %s", name, args[0], s.stderr.text())
}

// stop ends the process, if it has not ended. What it printed can be read
// afterwards.
func (s *server) stop() {
	select {
	case <-s.ended:
	default:
		killGroup(s.cmd)
		<-s.ended
	}
}

// output keeps what a process prints, and tells of the first line that begins
// with what is wanted.
type output struct {
	wanted string
	found  chan string

	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	if o.wanted == "" {
		return len(p), nil
	}
	for line := range strings.Lines(o.buf.String()) {
		if rest, ok := strings.CutPrefix(line, o.wanted); ok && strings.HasSuffix(rest, "\n") {
			o.found <- strings.TrimSpace(rest)
			o.wanted = ""
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
