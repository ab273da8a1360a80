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

// resources are what a proxy may not leak.
type resources struct {
	descriptors int
	resident    int // KiB
}

const (
	// releaseTimeout bounds the time until a proxy has released the resources
	// of its connections.
	releaseTimeout = 20 * time.Second
	// residentSlack is how much more memory than before a proxy may keep: the
	// runtime returns memory to the system slowly.
	residentSlack = 48 << 10 // KiB
	// maxIdleGoroutines bounds the goroutines of a proxy without connections,
	// which are about ten.
	maxIdleGoroutines = 16
)

// warmUp opens and closes a connection, and waits until the proxy has logged it.
// The proxy then has all resources that it needs to serve.
func (s *server) warmUp(ctx context.Context) error {
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		return err
	}
	conn.Close()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(10 * time.Millisecond) {
		switch {
		case strings.Contains(s.stderr.text(), "msg=closed"):
			return nil
		case time.Now().After(deadline):
			return errors.New("the proxy has not logged that a connection was closed")
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// checkLeaks waits until the proxy has no more resources than before. Then it
// counts its goroutines, which ends the proxy.
func (s *server) checkLeaks(ctx context.Context, before resources) error {
	deadline := time.Now().Add(releaseTimeout)
	for {
		now, err := s.resources()
		if err != nil {
			return err
		}
		if now.descriptors <= before.descriptors && now.resident <= before.resident+residentSlack {
			break
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("the proxy leaks: %d descriptors and %d KiB, before the load %d and %d",
				now.descriptors, now.resident, before.descriptors, before.resident)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if n := s.goroutines(); n == 0 || n > maxIdleGoroutines {
		return fmt.Errorf("the proxy leaks: %d goroutines without a connection", n)
	}
	return nil
}

// resources reads the process's resources from /proc.
func (s *server) resources() (r resources, err error) {
	proc := filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid))
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
	r.descriptors = len(descriptors)
	r.resident, err = strconv.Atoi(fields[0])
	return r, err
}

// goroutines ends the process with SIGQUIT, for which Go's runtime prints all
// goroutines, and counts those that the runtime did not create.
func (s *server) goroutines() int {
	s.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-s.ended:
	case <-time.After(startTimeout):
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
