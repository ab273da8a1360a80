//go:build unix && !linux

package service

import (
	"context"
	"io/fs"
	"net"
	"sync"
	"syscall"
)

// umask is locked while the process has another umask.
var umask sync.Mutex

// bindUnix listens on a Unix socket, whose file never has a permission that mode has
// not. A file that is made elsewhere at the same time may lack permissions of others, and
// gets no more.
func bindUnix(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	umask.Lock()
	defer umask.Unlock()
	before := syscall.Umask(0o777)
	syscall.Umask(before | int(0o777&^mode.Perm()))
	defer syscall.Umask(before)
	var config net.ListenConfig
	return config.Listen(ctx, "unix", path)
}
