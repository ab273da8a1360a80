package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideVariable is set in the process that inside starts.
const insideVariable = "MTWIRE_INTEROP_INSIDE"

// Main is a program's main function. It calls run in a process with a network of its own, in
// which only lo is up, and mounts of its own, which end with it. An interrupt or SIGTERM ends
// the context. After an error, which is printed behind name, it exits with 1.
func Main(name string, run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := inside(ctx, run); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// inside calls run in the process of Main: this program, started again with the same arguments.
func inside(ctx context.Context, run func(context.Context) error) error {
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
