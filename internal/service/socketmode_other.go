//go:build !unix

package service

import (
	"context"
	"io/fs"
	"net"
)

// bindUnix listens on a Unix socket, which has no mode on this system.
func bindUnix(ctx context.Context, path string, _ fs.FileMode) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "unix", path)
}
