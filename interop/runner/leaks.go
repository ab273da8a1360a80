package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/interop/process"
)

const (
	// releaseTimeout bounds the time until a proxy has released the resources
	// of its connections.
	releaseTimeout = 20 * time.Second
	// residentSlack is how much more memory than before a proxy may keep: the
	// runtime returns memory to the system slowly.
	residentSlack = 48 << 10 // KiB
	// laterDescriptors are those that a proxy opens for its first client and keeps:
	// the file of the handshakes that it remembers.
	laterDescriptors = 1
	// maxIdleGoroutines bounds the goroutines of a proxy without connections, but for
	// those that its main goroutine has started: about seven, of listeners and pollers.
	maxIdleGoroutines = 10
	// keptTime is how long a proxy keeps goroutines for the next connections, and a
	// little more.
	keptTime = 3 * time.Second
)

// warmUp opens and closes a connection, and waits until the proxy has logged it.
// The proxy then has all resources that it needs to serve.
func warmUp(ctx context.Context, s *process.Server) error {
	conn, err := net.Dial("tcp", s.Address)
	if err != nil {
		return err
	}
	conn.Close()
	for deadline := time.Now().Add(process.StartTimeout); ; time.Sleep(10 * time.Millisecond) {
		switch {
		case strings.Contains(s.Stderr.Text(), "msg=closed"):
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
func checkLeaks(ctx context.Context, s *process.Server, before process.Resources) error {
	deadline := time.Now().Add(releaseTimeout)
	for {
		now, err := s.Resources()
		if err != nil {
			return err
		}
		if now.Descriptors <= before.Descriptors+laterDescriptors && now.Resident <= before.Resident+residentSlack {
			break
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("the proxy leaks: %d descriptors and %d KiB, before the load %d and %d",
				now.Descriptors, now.Resident, before.Descriptors, before.Resident)
		}
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(keptTime)
	if n := goroutines(s); n == 0 || n > maxIdleGoroutines {
		return fmt.Errorf("the proxy leaks: %d goroutines without a connection", n)
	}
	return nil
}

// goroutines ends the process with SIGQUIT, for which Go's runtime prints all
// goroutines, and counts those that neither the runtime nor the main goroutine created:
// none of these is a connection's.
func goroutines(s *process.Server) int {
	s.Cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-s.Ended:
	case <-time.After(process.StartTimeout):
	}
	s.Stop()
	n := 0
	for _, stack := range strings.Split(s.Stderr.Text(), "\ngoroutine ")[1:] {
		_, creator, _ := strings.Cut(stack, "\ncreated by ")
		creator, _, _ = strings.Cut(creator, "\n")
		if !strings.HasPrefix(creator, "runtime.") && !strings.HasSuffix(creator, " in goroutine 1") {
			n++
		}
	}
	return n
}
