package service

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
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
	for _, ln := range s.listeners.list() {
		shared, ok := ln.Listener.(diverter)
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

// listenUnixBeside listens on a Unix socket, and takes the name from the socket of
// another process, if that allows it: from then on connections reach this one.
func listenUnixBeside(ctx context.Context, path string, mode os.FileMode) (net.Listener, error) {
	if err := checkSocket(path); err != nil {
		return nil, explainUnix(err, path)
	}
	lock, sharers, err := shareLock(path + lockSuffix)
	if err != nil {
		return nil, explainUnix(err, path)
	}
	if !sharers && answers(path) {
		lock.Close()
		return nil, errForeignSocket
	}
	ln, err := listenUnixAlone(ctx, path+besideSuffix, mode)
	if err != nil {
		lock.Close()
		return nil, err
	}
	shared, ok := ln.(*unixListener)
	if !ok { // where there is no lock either
		lock.Close()
		ln.Close()
		return nil, errors.ErrUnsupported
	}
	shared.path, shared.lock = path, lock
	err = os.Rename(path+besideSuffix, path)
	if err != nil {
		lock.Close()
		shared.UnixListener.Close()
		os.Remove(path + besideSuffix)
		return nil, explainUnix(err, path)
	}
	return shared, nil
}

// lockSuffix is the end of the name of the file that all processes lock that listen on a
// Unix socket and allow others to take its name. It proves that they do. It stays.
const lockSuffix = ".lock"

var errForeignSocket = errors.New("another process listens there, which is no proxy with --reuse-port: stop it, or choose another path")

// checkSocket returns an error if there is a file that is no socket.
func checkSocket(path string) error {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return errNoSocket
	}
	return nil
}

// answers reports whether a process may listen on a Unix socket.
func answers(path string) bool {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	return err == nil || !netx.IsErrno(err, netx.ECONNREFUSED) && !errors.Is(err, os.ErrNotExist)
}
