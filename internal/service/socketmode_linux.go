package service

import (
	"context"
	"io/fs"
	"net"
	"syscall"
)

// bindUnix listens on a Unix socket, whose file never has a permission that mode has
// not: it takes its mode from that of the socket, less the umask.
func bindUnix(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if broken := raw.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), uint32(mode.Perm())) }); broken != nil {
			return broken
		}
		return err
	}}
	return config.Listen(ctx, "unix", path)
}
