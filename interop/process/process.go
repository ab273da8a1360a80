// Package process runs programs of tests in process groups of their own, waits until
// servers listen, and reads what a process holds from /proc. Linux only.
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command returns a command whose process leads a process group, so that its
// children can be killed with it. When ctx ends, the group is killed.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return killGroup(cmd) }
	// Wait does not wait longer for a child that left the group and still has
	// the output open.
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// Run runs a command of Command to its end, and then kills what is left of its
// process group.
func Run(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	killGroup(cmd)
	return err
}

func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// Server is a process that serves until it is killed.
type Server struct {
	Cmd            *exec.Cmd
	Stdout, Stderr Output
	Address        string        // where it listens, as printed
	Ended          chan struct{} // closed when the process has ended

	// closed when its successors have ended too; nil if it has none
	silent chan struct{}
}

// StartTimeout bounds the time until a server listens.
const StartTimeout = time.Minute

// Start starts a command of Command as a server, and does not wait until it
// listens. The Server has its output, unless the command has set another place for it.
func Start(cmd *exec.Cmd) (*Server, error) {
	s := &Server{Cmd: cmd, Ended: make(chan struct{})}
	s.Stderr.found, s.Stderr.looking = make(chan string, 1), true
	if cmd.Stderr == nil {
		cmd.Stdout, cmd.Stderr = &s.Stdout, &s.Stderr
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		cmd.Wait()
		close(s.Ended)
	}()
	return s, nil
}

// StartServer starts a server, and waits until it prints "listening on" and its
// address.
func StartServer(ctx context.Context, name string, args ...string) (*Server, error) {
	s, err := Start(Command(ctx, name, args...))
	if err != nil {
		return nil, err
	}
	return s, s.awaitAddress(name, args)
}

// StartSuccession is StartServer for a server from which another process takes over that it
// has started. All have the same process group and the same output, which Stderr has.
func StartSuccession(ctx context.Context, name string, args ...string) (*Server, error) {
	output, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := Command(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = theirs, theirs
	s, err := Start(cmd)
	theirs.Close()
	if err != nil {
		output.Close()
		return nil, err
	}
	s.silent = make(chan struct{})
	go func() {
		io.Copy(&s.Stderr, output)
		output.Close()
		close(s.silent)
	}()
	return s, s.awaitAddress(name, args)
}

// awaitAddress waits until the server listens. If it does not, it stops it.
func (s *Server) awaitAddress(name string, args []string) error {
	timeout := time.NewTimer(StartTimeout)
	defer timeout.Stop()
	select {
	case s.Address = <-s.Stderr.found:
		return nil
	case <-s.last():
	case <-timeout.C:
	}
	s.Stop()
	return fmt.Errorf("%s %s does not listen: %s", name, args[0], s.Stderr.Text())
}

// Stop kills the process and its successors, if they have not ended. Their output stays
// readable.
func (s *Server) Stop() {
	select {
	case <-s.last():
	default:
		killGroup(s.Cmd)
		<-s.last()
	}
	<-s.Ended
}

// last returns a channel that is closed when the process and its successors have ended.
// Until then no other process group has the number of theirs.
func (s *Server) last() chan struct{} {
	if s.silent != nil {
		return s.silent
	}
	return s.Ended
}

// Output keeps the output of a process. The address of the first line that tells
// where the process listens is sent to found, if looking is true.
type Output struct {
	looking bool // until it is found
	found   chan string

	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	if !o.looking {
		return len(p), nil
	}
	for line := range strings.Lines(o.buf.String()) {
		if address := listenAddress(line); address != "" {
			o.found <- address
			o.looking = false
			break
		}
	}
	return len(p), nil
}

// listenAddress returns the address of a whole line that tells where a process
// listens: "listening on ADDRESS", or the same in a log of JSON.
func listenAddress(line string) string {
	if !strings.HasSuffix(line, "\n") {
		return ""
	}
	if address, ok := strings.CutPrefix(line, "listening on "); ok {
		return strings.TrimSpace(address)
	}
	var record struct{ Msg, Address string }
	if json.Unmarshal([]byte(line), &record) == nil && record.Msg == "listening" {
		return record.Address
	}
	return ""
}

// Text returns all output so far, without the space around it.
func (o *Output) Text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(o.buf.String())
}

// Resources are what a process holds.
type Resources struct {
	Descriptors int
	Resident    int // KiB
}

// Resources reads what the process holds from /proc.
func (s *Server) Resources() (r Resources, err error) {
	proc := filepath.Join("/proc", strconv.Itoa(s.Cmd.Process.Pid))
	descriptors, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return r, err
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return r, err
	}
	_, rest, _ := strings.Cut(string(status), "\nVmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return r, fmt.Errorf("%s has no VmRSS", proc)
	}
	r.Descriptors = len(descriptors)
	r.Resident, err = strconv.Atoi(fields[0])
	return r, err
}
