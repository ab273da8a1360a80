// Command systemd boots a Debian system whose first process is systemd, installs mtwire
// and the unit of examples/systemd in it, and does what operators do. interop/systemd/run
// builds what it needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/mtwire/mtwire/interop/live"
	"github.com/mtwire/mtwire/interop/process"
	"golang.org/x/sys/unix"
)

func main() {
	t := &trial{}
	flag.StringVar(&t.root, "root", "", "directory of the Debian system")
	flag.StringVar(&t.units, "units", "", "directory with the unit and the socket unit")
	flag.StringVar(&t.mtwire, "mtwire", "", "the program")
	flag.StringVar(&t.other, "other", "", "the same program in another file")
	flag.StringVar(&t.before, "before", "", "an older program; none: no downgrade")
	flag.StringVar(&t.log, "log", "", "file for the journal and the console")
	flag.StringVar(&t.steps.Only, "only", "", "run the steps only that have this in their names")
	flag.Parse()
	t.steps.Output = os.Stdout
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, t); err != nil {
		fmt.Fprintln(os.Stderr, "interop/systemd:", err)
		os.Exit(1)
	}
}

// insideVariable is set in the process in namespaces of its own.
const insideVariable = "MTWIRE_SYSTEMD_INSIDE"

// run runs the trial in a network of its own, in which only lo is up, and with mounts of its
// own, that end with it.
func run(ctx context.Context, t *trial) error {
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
	if err := process.LoopbackUp(); err != nil {
		return err
	}
	// systemd-nspawn leaves directories in /run.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
	}
	dc, err := startDataCenter()
	if err != nil {
		return err
	}
	defer dc.Close()
	m, err := boot(ctx, t.root, t.log)
	if err != nil {
		return err
	}
	defer m.halt()
	t.machine = m
	t.run(ctx)
	return errors.Join(t.steps.Close(), m.save(t.log))
}

// notHere returns the error of a step that cannot be run.
func notHere(format string, args ...any) error {
	return fmt.Errorf("%w: %s", live.ErrNotHere, fmt.Sprintf(format, args...))
}
