package loadgen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// KeepAwake runs a loop on each of the processors, behind all other processes (SCHED_IDLE),
// so that they do not sleep while they have nothing else to do. It calls ready once the
// loops run, and returns when ctx ends: nil, or an error if a loop could not run. It is for
// a process of its own, of which it changes all threads.
func KeepAwake(ctx context.Context, processors []int, ready func()) error {
	if LowerPriority() == normalPriority {
		return errors.New("SCHED_IDLE is not allowed")
	}
	ctx, cancel := context.WithCancel(ctx)
	runtime.GOMAXPROCS(len(processors) + 1) // one for the end of ctx
	started := make(chan error, len(processors))
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()
	for _, number := range processors {
		loops.Go(func() {
			err := runOn(number)
			started <- err
			for err == nil && ctx.Err() == nil {
			}
		})
	}
	for range processors {
		if err := <-started; err != nil {
			return err
		}
	}
	ready()
	loops.Wait()
	return nil
}

// groupWarning returns why the loops beside a process would not be behind it, or "". The kernel
// may group processes by session, and then gives each group as much time as another.
func groupWarning(pid int) string {
	enabled, err := os.ReadFile("/proc/sys/kernel/sched_autogroup_enabled")
	if err != nil || string(bytes.TrimSpace(enabled)) != "1" {
		return ""
	}
	own, err := os.ReadFile("/proc/self/autogroup")
	other, failed := os.ReadFile(fmt.Sprintf("/proc/%d/autogroup", pid))
	if err != nil || failed != nil || bytes.Equal(own, other) {
		return ""
	}
	return "the proxy is in another session, so what keeps its processors awake has up to half of them: " +
		"start both from one shell, or set kernel.sched_autogroup_enabled to 0"
}

// runOn puts the goroutine on a processor for good.
func runOn(number int) error {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(number)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("on processor %d: %w", number, err)
	}
	return nil
}
