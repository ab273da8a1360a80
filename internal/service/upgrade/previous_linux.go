package upgrade

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// programOf returns a path of the program that a process runs, which is there also if the
// program has been replaced or removed.
func programOf(pid int) string { return fmt.Sprintf("/proc/%d/exe", pid) }

// openNow has the open of a FIFO or a device return at once.
const openNow = unix.O_NONBLOCK

// linkProgram makes a hard link to this process's program.
func linkProgram(to string) error {
	return unix.Linkat(unix.AT_FDCWD, programOf(os.Getpid()), unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
}

// execute replaces this process by a program, for which path is where it was started. It
// returns if that fails.
func execute(program *os.File, path string) error {
	return masked(func() error {
		return syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", program.Fd()), append([]string{path}, os.Args[1:]...), os.Environ())
	})
}

// startOf returns when a process was started, in ticks since the start of the system. It
// fails if there is no such process, or it has ended.
//
// Specification: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
func startOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(text[max(0, strings.LastIndexByte(string(text), ')')):]), " ")
	fields := strings.Fields(rest) // from the third on: the second may have spaces
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "", errors.New("the process has ended")
	}
	return fields[19], nil
}

// isStarted reports whether the process that was started then still runs.
func isStarted(pid int, started string) bool {
	now, err := startOf(pid)
	return err == nil && now == started
}

// bootID returns an identifier of the system since its start.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
