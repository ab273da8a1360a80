package loadgen

import (
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// startCat starts a process that runs until its input ends.
func startCat(t *testing.T, start func(*exec.Cmd) error) (pid int) {
	t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return cmd.Process.Pid
}

// A command starts on the processors of another process, and leaves those of this process
// as they were.
func TestStartBeside(t *testing.T) {
	own, err := processors(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	one := own[len(own)-1]
	other := startCat(t, (*exec.Cmd).Start)
	var set unix.CPUSet
	set.Set(one)
	if err := unix.SchedSetaffinity(other, &set); err != nil {
		t.Fatal(err)
	}
	beside := startCat(t, func(c *exec.Cmd) error { return StartBeside(c, other) })
	if on, err := processors(beside); err != nil || !slices.Equal(on, []int{one}) {
		t.Errorf("on processors %v, %v, want %d", on, err, one)
	}
	if now, err := processors(0); err != nil || !slices.Equal(now, own) {
		t.Errorf("this thread is on %v, %v, want %v", now, err, own)
	}
	if err := StartBeside(exec.Command("cat"), 1<<29); err == nil {
		t.Error("a command starts beside a process that is not there")
	}
}
