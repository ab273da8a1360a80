//go:build unix

package main

import (
	"os"
	"syscall"
	"time"
)

// stopProcess stops this process until SIGCONT. The signal stops all threads, this one perhaps
// a moment later than others.
func stopProcess(p *os.Process) {
	p.Signal(syscall.SIGSTOP)
	time.Sleep(50 * time.Millisecond)
}
