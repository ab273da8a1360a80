package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// holdings is what a proxy holds on to.
type holdings struct {
	descriptors int
	resident    int // KiB
}

const (
	// settleLimit is how long a proxy may take to let go of its connections.
	settleLimit = 20 * time.Second
	// residentSlack is how much more memory than before it may keep: the
	// runtime gives memory back to the system slowly.
	residentSlack = 48 << 10
	// goroutinesAtRest is more than a proxy has without connections, however
	// many there were: about ten.
	goroutinesAtRest = 16
)

// warmUp makes sure that the proxy has all that it needs to serve: it has
// taken a connection, and said that it is closed.
func (s *server) warmUp(ctx context.Context) error {
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		return err
	}
	conn.Close()
	for limit := time.Now().Add(startLimit); ; time.Sleep(10 * time.Millisecond) {
		switch {
		case strings.Contains(s.stderr.text(), "msg=closed"):
			return nil
		case time.Now().After(limit):
			return errors.New("the proxy does not say that a connection was closed")
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// settles waits until the proxy holds no more than before, and looks at its
// goroutines, which ends it.
func (s *server) settles(ctx context.Context, before holdings) error {
	limit := time.Now().Add(settleLimit)
	for {
		now, err := s.holdings()
		if err != nil {
			return err
		}
		if now.descriptors <= before.descriptors && now.resident <= before.resident+residentSlack {
			break
		}
		if time.Now().After(limit) || ctx.Err() != nil {
			return fmt.Errorf("the proxy leaks: %d descriptors and %d KiB, before the load %d and %d",
				now.descriptors, now.resident, before.descriptors, before.resident)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if n := s.goroutines(); n == 0 || n > goroutinesAtRest {
		return fmt.Errorf("the proxy leaks: %d goroutines without a connection", n)
	}
	return nil
}

// holdings reads what the process holds.
func (s *server) holdings() (h holdings, err error) {
	proc := filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid))
	descriptors, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return h, err
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return h, err
	}
	_, rest, _ := strings.Cut(string(status), "\nVmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return h, fmt.Errorf("%s has no VmRSS", proc)
	}
	h.descriptors = len(descriptors)
	h.resident, err = strconv.Atoi(fields[0])
	return h, err
}

// goroutines ends the process with the signal at which Go's runtime prints
// all of them, and counts those that are not the runtime's own.
func (s *server) goroutines() int {
	s.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-s.ended:
	case <-time.After(startLimit):
	}
	s.stop()
	n := 0
	for _, stack := range strings.Split(s.stderr.text(), "\ngoroutine ")[1:] {
		if !strings.Contains(stack, "\ncreated by runtime.") {
			n++
		}
	}
	return n
}
