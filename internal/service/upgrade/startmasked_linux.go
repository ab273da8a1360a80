package upgrade

import (
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// startMasked starts a process for which SIGUSR2 and SIGHUP wait until it catches them. Otherwise
// they would end it: systemctl kill sends a signal to all processes of the service, and so to
// that which the first of them has just started.
func startMasked(cmd *exec.Cmd) error { return masked(cmd.Start) }

// masked calls start in a thread whose mask has SIGUSR2 and SIGHUP: a process that it starts, or a
// program that it executes, inherits the mask.
func masked(start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var mask, before unix.Sigset_t
	mask.Val[0] = 1<<(unix.SIGUSR2-1) | 1<<(unix.SIGHUP-1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &mask, &before); err != nil {
		return err
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return start()
}
