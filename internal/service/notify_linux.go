package service

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// notifyVariable has the socket for messages to systemd, or a manager like it.
const notifyVariable = "NOTIFY_SOCKET"

// notifyTime is how long a message waits for systemd to take those before it. It is a
// variable for tests.
var notifyTime = 5 * time.Second

// notify sends a message to systemd, if that wants some.
//
// Specification: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
func (s *Service) notify(format string, args ...any) {
	s.notifyWith(nil, format, args...)
}

// notifyWith is notify with the socket of a listener, nil for none.
func (s *Service) notifyWith(ln syscall.Conn, format string, args ...any) {
	path := os.Getenv(notifyVariable)
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(notifyTime))
		err = send(conn, fmt.Appendf(nil, format, args...), ln)
	}
	if err != nil {
		s.log.Warn("systemd cannot be notified", "cause", err)
	}
}

// send sends a message, with a socket unless it is nil.
func send(conn *net.UnixConn, message []byte, socket syscall.Conn) error {
	if socket == nil {
		_, err := conn.Write(message)
		return err
	}
	from, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	to, err := conn.SyscallConn() // package net sends no rights on a datagram socket that is connected
	if err != nil {
		return err
	}
	var failed error
	err = from.Control(func(fd uintptr) {
		failed = to.Write(func(socket uintptr) (done bool) {
			err = unix.Sendmsg(int(socket), message, unix.UnixRights(int(fd)), nil, 0)
			return err != unix.EAGAIN
		})
		failed = cmp.Or(failed, err)
	})
	return cmp.Or(err, failed)
}

// notifyReloading announces an upgrade, with its time by the monotonic clock.
func (s *Service) notifyReloading() {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	s.notify("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}

// endsWithProcess reports whether systemd ends the service with this process, because it
// takes no messages of which is the service's.
func endsWithProcess() bool {
	return os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()) && os.Getenv("INVOCATION_ID") != "" && os.Getenv(notifyVariable) == ""
}
