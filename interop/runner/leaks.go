package main

import (
	"context"
	"fmt"
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
	goroutines  int
}

const (
	// settleLimit is how long a proxy may take to let go of its connections.
	settleLimit = 20 * time.Second
	// residentSlack is how much more memory than before it may keep: the
	// runtime gives memory back to the system slowly.
	residentSlack = 48 << 10
	// goroutineSlack is how many goroutines may come and go by themselves.
	goroutineSlack = 3
)

// measure says what the proxy of the stage holds before the case. Its
// goroutines are counted in another one that does nothing either, because
// that ends it.
func (p *plan) measure(ctx context.Context, s *stage, t testCase) (h holdings, err error) {
	if !t.Leaks {
		return h, nil
	}
	idle, err := startServer(ctx, p.Mtwire, "proxy", "--listen", "127.0.0.1:0", "--secret", secrets[t.Secret], "--front", "127.0.0.1:1")
	if err != nil {
		return h, err
	}
	goroutines := idle.goroutines()
	h, err = s.proxy.holdings()
	h.goroutines = goroutines
	return h, err
}

// settles waits until the proxy holds no more than before. It ends the proxy.
func (s *stage) settles(ctx context.Context, before holdings) error {
	limit := time.Now().Add(settleLimit)
	for {
		now, err := s.proxy.holdings()
		if err != nil {
			return err
		}
		kept := now.descriptors > before.descriptors || now.resident > before.resident+residentSlack
		if !kept {
			break
		}
		if time.Now().After(limit) || ctx.Err() != nil {
			return fmt.Errorf("the proxy leaks: %d descriptors and %d KiB, before the load %d and %d",
				now.descriptors, now.resident, before.descriptors, before.resident)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if n := s.proxy.goroutines(); n == 0 || n > before.goroutines+goroutineSlack {
		return fmt.Errorf("the proxy leaks: %d goroutines, without load %d", n, before.goroutines)
	}
	return nil
}

// holdings reads what the process holds, but for its goroutines.
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
