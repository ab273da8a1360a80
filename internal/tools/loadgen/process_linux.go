package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

var errNoProcess = errors.New("no such process")

// processTime returns the CPU time that a process has used so far, ended threads
// included and children excluded. The CPU clock of the process has a resolution of
// nanoseconds, while /proc counts ticks of 10 ms.
func processTime(pid int) (time.Duration, error) {
	const (
		scheduled = 2       // clock_getcpuclockid(3): the clock is ^pid<<3 | 2
		maxPID    = 1 << 22 // the kernel's limit; 0 would be this process
	)
	var ts unix.Timespec
	err := error(unix.EINVAL)
	if pid > 0 && pid <= maxPID {
		err = unix.ClockGettime(int32(^pid<<3|scheduled), &ts)
	}
	if errors.Is(err, unix.EINVAL) {
		err = errNoProcess
	}
	if err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// residentMemory returns the resident memory of a process, in bytes.
func residentMemory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = errNoProcess
		}
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for line := range bytes.Lines(status) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "VmRSS:" {
			kib, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("memory of process %d: %w", pid, errNoProcess) // a zombie has no VmRSS
}

// processDescriptorLimit returns the number of file descriptors that a process may
// have. It is not known of another user's process.
func processDescriptorLimit(pid int) (limit int, known bool) {
	var l unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &l); err != nil {
		return 0, false
	}
	return int(min(l.Cur, math.MaxInt)), true
}
