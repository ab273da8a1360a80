package upgrade

import (
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// startMasked starts a process for which SIGUSR2 waits until it catches it. Otherwise the
// signal would end it: systemctl kill sends one to all processes of the service, and so to
// that which the first of them has just started for it.
func startMasked(cmd *exec.Cmd) error {
	runtime.LockOSThread() // the process inherits the mask of the thread that starts it
	defer runtime.UnlockOSThread()
	var mask, before unix.Sigset_t
	mask.Val[0] = 1 << (unix.SIGUSR2 - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &mask, &before); err != nil {
		return err
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return cmd.Start()
}
