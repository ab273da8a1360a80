package service

import (
	"context"
	"net"
	"os"
	"time"
)

// A restart that refuses no connection: the new process begins to listen on the same
// address (Config.ReusePort) before the old one is stopped, and the old one hands over.
// A socket that closes resets the connections that it has not accepted, and those whose
// handshake is on its way. So the kernel gives it no new ones for a while before.

// handOverTime is how long the handshakes of TCP connections take that have begun: one
// round trip, or one retransmission.
const handOverTime = time.Second

// diverter is a listener that can leave new connections to other processes' listeners
// on the same address.
type diverter interface {
	net.Listener
	divert() error
}

// handOver returns when the listeners get no new connections any more, if other
// processes listen beside them; or when ctx ends.
func (s *Service) handOver(ctx context.Context) {
	diverted := false
	for _, ln := range s.listeners {
		shared, ok := ln.(diverter)
		if !ok {
			continue
		}
		if err := shared.divert(); err != nil {
			s.log.Warn("new connections may be lost: they cannot be left to another process", "listener", ln.Addr().String(), "cause", err)
			continue
		}
		diverted = true
	}
	if diverted {
		select {
		case <-ctx.Done():
		case <-time.After(handOverTime):
		}
	}
}

// besideSuffix is the end of the name that a Unix socket has until it takes the place
// of another process's.
const besideSuffix = ".new"

// sharedUnixListener listens on a Unix socket whose name another process may take.
type sharedUnixListener struct {
	*net.UnixListener
	path string
	info os.FileInfo
}

// listenUnixBeside listens on a Unix socket, and takes the name from the socket of
// another process: from then on connections reach this one.
func listenUnixBeside(ctx context.Context, path string, mode os.FileMode) (net.Listener, error) {
	ln, err := listenUnixAlone(ctx, path+besideSuffix, mode)
	if err != nil {
		return nil, err
	}
	shared := &sharedUnixListener{UnixListener: ln.(*net.UnixListener), path: path}
	if ln, ok := ln.(interface{ SetUnlinkOnClose(bool) }); ok { // not on Plan 9, which has no Unix sockets
		ln.SetUnlinkOnClose(false)
	}
	if shared.info, err = os.Lstat(path + besideSuffix); err == nil {
		err = replaceSocket(path+besideSuffix, path)
	}
	if err != nil {
		shared.UnixListener.Close()
		os.Remove(path + besideSuffix)
		return nil, explainUnix(err, path)
	}
	return shared, nil
}

// replaceSocket renames a socket. It does not replace a file that is none.
func replaceSocket(from, to string) error {
	if info, err := os.Lstat(to); err == nil && info.Mode().Type() != os.ModeSocket {
		return errNoSocket
	}
	return os.Rename(from, to)
}

// Addr returns the address with the name that clients use.
func (ln *sharedUnixListener) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: ln.path} }

// Close removes the socket, unless another process has taken the name.
func (ln *sharedUnixListener) Close() error {
	if info, err := os.Lstat(ln.path); err == nil && os.SameFile(info, ln.info) {
		os.Remove(ln.path)
	}
	return ln.UnixListener.Close()
}
