package upgrade

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// isExecutable reports whether this process may execute a file.
func isExecutable(path string) bool {
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) == nil
}

// isTrusted reports whether root and this process's user, and no others, may change a file.
func isTrusted(info os.FileInfo) bool { return isOwned(info) && info.Mode().Perm()&0o022 == 0 }

// isOwned reports whether a file is root's or this process's user's.
func isOwned(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}

// inOwnGroup has the end of cmd's context end all processes that it has started as well.
func inOwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
