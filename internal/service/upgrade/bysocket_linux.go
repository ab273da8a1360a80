package upgrade

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/mtwire/mtwire/internal/netx"
	"golang.org/x/sys/unix"
)

// ListenSocket listens at a path for the process that takes over, in the place of a socket
// that is there. Only processes of this user, and root's, can connect.
func ListenSocket(path string) (*net.UnixListener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return nil, errors.New("the file there is not a socket")
	}
	next := path + ".new"
	os.Remove(next)
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: next, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	if err = os.Chmod(next, 0o600); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		os.Remove(next)
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// dialSocket connects to the process that listens at a path. It returns nil if none does.
func dialSocket(path string) (*net.UnixConn, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if errors.Is(err, fs.ErrNotExist) || netx.IsErrno(err, netx.ECONNREFUSED) {
		return nil, nil
	}
	return conn, err
}

// peerOf returns the number of the process at the other end of a socket, 0 if it has none
// here. It fails if that is another user's.
func peerOf(conn *net.UnixConn) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	if closed := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); closed != nil {
		return 0, closed
	}
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	if err := checkUser(int(peer.Uid), os.Geteuid()); err != nil {
		return 0, err
	}
	return int(peer.Pid), nil
}

// checkUser returns an error if a process of one user may not take over from one of another.
func checkUser(peer, own int) error {
	if peer != own && peer != 0 {
		return fmt.Errorf("the other process is of user %d, and this one of %d", peer, own)
	}
	return nil
}
