package loadgen

import (
	"fmt"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// processors returns the numbers of the processors that a process may run on. The main
// thread stands for the process.
func processors(pid int) (numbers []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &set); err != nil {
		return nil, fmt.Errorf("processors of process %d: %w", pid, err)
	}
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			numbers = append(numbers, i)
		}
	}
	return numbers, nil
}

// StartBeside starts a command on the processors that the process pid may run on, from the
// command's first instruction: Go's scheduler counts them once.
func StartBeside(cmd *exec.Cmd, pid int) error {
	var own, other unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &other); err != nil {
		return fmt.Errorf("processors of process %d: %w", pid, err)
	}
	runtime.LockOSThread() // a child has the processors of the thread that starts it
	defer runtime.UnlockOSThread()
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		return fmt.Errorf("own processors: %w", err)
	}
	if err := unix.SchedSetaffinity(0, &other); err != nil {
		return fmt.Errorf("on the processors of process %d: %w", pid, err)
	}
	started := cmd.Start()
	if err := unix.SchedSetaffinity(0, &own); err != nil {
		runtime.LockOSThread() // which ends with its goroutine, and no other one is to have it
		if started == nil {
			started = fmt.Errorf("back on the own processors: %w", err)
		}
	}
	return started
}
