package service

import (
	"net"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/mtwire/mtwire/internal/service/upgrade"
)

// unixListener listens on a Unix socket. Its Close removes the file, unless that is another
// process's by then: it compares device and inode, and not the name alone.
type unixListener struct {
	*net.UnixListener
	path string
	lock *os.File // which is locked while it is open, so that other processes may take the name; nil if they may not

	mu        sync.Mutex
	info      os.FileInfo // of the file, nil if that is not this socket's
	elsewhere bool        // another process has the socket as well
	closed    bool        // info stays: it may still be told to the next process
}

// ownSocket returns a socket that was bound at path as one whose Close compares the file. Where
// files cannot be compared it returns ln, whose Close removes what has the name.
func ownSocket(ln net.Listener, path string) net.Listener {
	socket, ok := ln.(*net.UnixListener)
	if !ok || runtime.GOOS == "windows" {
		return ln
	}
	if ln, ok := ln.(interface{ SetUnlinkOnClose(bool) }); ok { // not on Plan 9, which has no Unix sockets
		ln.SetUnlinkOnClose(false)
	}
	info, _ := os.Lstat(path) // nil after an error
	return &unixListener{UnixListener: socket, path: path, info: info}
}

// takeFile has other, on the socket of ln, have its file.
func takeFile(other, ln net.Listener) {
	of, ok := ln.(*unixListener)
	to, isOther := other.(*unixListener)
	if ok && isOther {
		of.mu.Lock()
		defer of.mu.Unlock()
		to.info = of.info
	}
}

// leave has Close leave the file alone, or not. If it was closed and has left the file, that is
// removed now: the other process, for which it was left, has ended or does not listen there.
func (ln *unixListener) leave(elsewhere bool) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.elsewhere = elsewhere; ln.closed && !elsewhere {
		ln.removeFile()
	}
}

// removeFile removes the file, if it is this socket's. Under mu.
func (ln *unixListener) removeFile() {
	if info, err := os.Lstat(ln.path); err == nil && ln.info != nil && os.SameFile(info, ln.info) {
		os.Remove(ln.path)
	}
	ln.info = nil // another socket's file may have its inode from now on
}

// Addr returns the address with the name that clients use.
func (ln *unixListener) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: ln.path} }

// Close closes the listener, and removes its file.
func (ln *unixListener) Close() error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if !ln.closed && !ln.elsewhere {
		ln.removeFile()
	}
	ln.closed = true // if this is called again, it removes nothing
	if ln.lock != nil {
		ln.lock.Close() // also that of a listener that was closed
	}
	return ln.UnixListener.Close()
}

// takeSocket returns a Unix socket that was handed over as one that this process made, and whose
// name other processes may take, if it is to be so.
func (c *Config) takeSocket(socket *net.UnixListener) net.Listener {
	path := socket.Addr().String()
	if name, ok := strings.CutSuffix(path, besideSuffix); ok && checkIsSocket(path) != nil { // where it was bound
		path = name
	}
	ln := ownSocket(socket, path)
	if own, ok := ln.(*unixListener); ok && c.ReusePort {
		own.lock, _, _ = shareLock(path + lockSuffix) // nil after an error
	}
	return ln
}

// checkIsSocket returns an error if there is no socket at a path.
func checkIsSocket(path string) error {
	info, err := os.Lstat(path)
	if err == nil && info.Mode().Type() != os.ModeSocket {
		err = errNoSocket
	}
	return err
}

// socketFinding is which file a Unix socket has. As JSON it is part of the format of an upgrade:
// the next process sees the name, which another process may have taken. Inode is 0 for none.
type socketFinding struct {
	Use     upgrade.Use `json:"use"`
	Address string      `json:"address"`
	Device  uint64      `json:"device"`
	Inode   uint64      `json:"inode"`
}

// socketFindings returns the files of the Unix sockets among listeners.
func socketFindings(listeners []upgrade.Listener) (all []socketFinding) {
	for _, l := range listeners {
		if ln, ok := l.Listener.(*unixListener); ok {
			ln.mu.Lock()
			device, inode := fileID(ln.info)
			ln.mu.Unlock()
			all = append(all, socketFinding{l.Use, l.Address, device, inode})
		}
	}
	return all
}

// take compares the files of listeners that were handed over with those that they had in the
// process before: another one at the same name is not theirs.
func (f socketFinding) take(listeners []upgrade.Listener) {
	for _, l := range listeners {
		ln, ok := l.Listener.(*unixListener)
		if !ok || l.Use != f.Use || l.Address != f.Address {
			continue
		}
		ln.mu.Lock()
		if device, inode := fileID(ln.info); device != f.Device || inode != f.Inode {
			ln.info = nil
		}
		ln.mu.Unlock()
	}
}
