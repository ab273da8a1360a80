package upgrade

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/mtwire/mtwire/internal/netx"
	"golang.org/x/sys/unix"
)

// Variable is the environment variable that has the number of the new process's socket.
const Variable = "MTWIRE_UPGRADE_SOCKET"

// childSocket is its number: the first of exec.Cmd's ExtraFiles.
const childSocket = 3

// socketPair returns both ends of a socket that keeps the bounds of messages.
func socketPair() (own *net.UnixConn, other *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	other = os.NewFile(uintptr(fds[1]), "upgrade")
	if own, err = unixConn(fds[0]); err != nil {
		other.Close()
	}
	return own, other, err
}

// unixConn makes a connection of a descriptor, which it closes.
func unixConn(fd int) (*net.UnixConn, error) {
	file := os.NewFile(uintptr(fd), "upgrade")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errors.New("no Unix socket")
	}
	return socket, nil
}

// inheritedSocket returns the socket that the variable names, nil if there is none, and
// removes the variable.
func inheritedSocket() (*net.UnixConn, error) {
	text := os.Getenv(Variable)
	if text == "" {
		return nil, nil
	}
	os.Unsetenv(Variable)
	fd, err := strconv.Atoi(text)
	if err != nil || fd < childSocket {
		return nil, fmt.Errorf("%s=%q: want a descriptor", Variable, text)
	}
	conn, err := unixConn(fd)
	if err != nil {
		return nil, fmt.Errorf("%s=%q: %w", Variable, text, err)
	}
	return conn, nil
}

// send sends a message with descriptors, which stay the caller's.
func send(conn *net.UnixConn, message []byte, fds []int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	n, _, err := conn.WriteMsgUnix(message, rights, nil)
	if err == nil && n != len(message) {
		err = io.ErrShortWrite
	}
	return err
}

// receive receives a message into b, and its descriptors, of which there are at most
// maxFDs. If some were lost, because the process may have no more, it returns none.
func receive(conn *net.UnixConn, b []byte, maxFDs int) (message []byte, fds []int, err error) {
	rights := make([]byte, unix.CmsgSpace(4*maxFDs))
	n, rightsLength, flags, _, err := conn.ReadMsgUnix(b, rights)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 {
		return nil, nil, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rightsLength])
	if err != nil {
		return nil, nil, err
	}
	for _, m := range messages {
		some, err := unix.ParseUnixRights(&m)
		if err != nil {
			closeFDs(fds)
			return nil, nil, err
		}
		fds = append(fds, some...)
	}
	if flags&unix.MSG_TRUNC != 0 {
		closeFDs(fds)
		return nil, nil, ErrMessage
	}
	if flags&unix.MSG_CTRUNC != 0 {
		closeFDs(fds)
		fds = nil
	}
	return b[:n], fds, nil
}

// tellSenders has the messages that come over conn from now on tell which process has sent them.
func tellSenders(conn *net.UnixConn) { setPassCredentials(conn, 1) }

func setPassCredentials(conn *net.UnixConn, value int) {
	if raw, err := conn.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, value) })
	}
}

// senderOf waits for the next message, which stays there, and returns which process has sent it,
// 0 if that is not known. Unless its time was over, it undoes tellSenders, whose descriptions of
// senders receive does not know.
func senderOf(conn *net.UnixConn) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	defer func() {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			setPassCredentials(conn, 0)
		}
	}()
	control, length := make([]byte, unix.CmsgSpace(unix.SizeofUcred)), 0
	failed := raw.Read(func(fd uintptr) (done bool) {
		for {
			_, length, _, _, err = unix.Recvmsg(int(fd), make([]byte, 1), control, unix.MSG_PEEK|unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if failed = cmp.Or(failed, err); failed != nil {
		return 0, &net.OpError{Op: "read", Net: "unixpacket", Err: failed}
	}
	messages, err := unix.ParseSocketControlMessage(control[:length])
	for _, m := range messages {
		if sender, err := unix.ParseUnixCredentials(&m); err == nil {
			return int(sender.Pid), nil
		}
	}
	return 0, err
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// connOf makes a connection of a descriptor, which it closes with it or at an error. It fails
// if the peer has gone, which the other process is to notice.
func connOf(fd int) (net.Conn, error) {
	socket, err := netx.NewSocket(fd)
	switch {
	case err == nil:
		return socket, nil
	case !netx.IsErrno(err, unix.EAFNOSUPPORT):
		unix.Close(fd)
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "session")
	defer file.Close()
	return net.FileConn(file)
}

// listenerOf makes a listener of a descriptor, which it closes.
func listenerOf(fd int) (net.Listener, error) {
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	ln, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	return netx.Sockets(ln), nil
}

// duplicate returns another descriptor of a socket, which no other goroutine closes.
func duplicate(conn any) (fd int, err error) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	if closed := raw.Control(func(original uintptr) {
		fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	}); closed != nil {
		return 0, closed
	}
	return fd, err
}
