package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideVariable is set in the process that Inside starts.
const insideVariable = "MTWIRE_INTEROP_INSIDE"

// Inside calls run in a process with a network of its own, in which only lo is up, and mounts
// of its own, which end with it: this program, started again with the same arguments.
func Inside(ctx context.Context, run func(context.Context) error) error {
	if os.Getenv(insideVariable) == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
		cmd.Env = append(os.Environ(), insideVariable+"=1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
		return cmd.Run()
	}
	if err := LoopbackUp(); err != nil {
		return err
	}
	// What container engines leave in /run is gone with it.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
	}
	return run(ctx)
}
