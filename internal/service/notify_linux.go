package service

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// notifyVariable has the socket for messages to systemd, or a manager like it.
const notifyVariable = "NOTIFY_SOCKET"

// notify sends a message to systemd, if that wants some.
//
// Specification: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
func (s *Service) notify(format string, args ...any) {
	path := os.Getenv(notifyVariable)
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		defer conn.Close()
		_, err = fmt.Fprintf(conn, format, args...)
	}
	if err != nil {
		s.log.Warn("systemd cannot be notified", "cause", err)
	}
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
