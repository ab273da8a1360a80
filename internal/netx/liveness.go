package netx

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Liveness is how the kernel detects that a TCP peer has gone. A zero field leaves
// the socket's setting unchanged.
type Liveness struct {
	// Idle is how long nothing is received before the first keep-alive probe.
	// Interval is the time between two probes, and Count is how many of them may
	// stay unanswered. Any of the three enables keep-alive; if Idle is negative,
	// it is disabled. The system may round to seconds.
	Idle, Interval time.Duration
	Count          int

	// UserTimeout is how long written bytes may stay unacknowledged, or the peer's
	// window closed, before the connection is ended: TCP_USER_TIMEOUT. Without
	// it, Linux retransmits for about 15 minutes. With keep-alive, it takes the
	// place of Count. It is rounded up to milliseconds. Systems other than Linux
	// ignore it.
	//
	// Specification: https://www.rfc-editor.org/rfc/rfc5482
	UserTimeout time.Duration
}

// SetLiveness configures the TCP socket of conn, which may be below other
// connections with a method NetConn. Without such a socket it does nothing.
func SetLiveness(conn net.Conn, l Liveness) error {
	socket := tcpBelow(conn)
	if socket == nil || l == (Liveness{}) {
		return nil
	}
	var err error
	switch {
	case l.Idle < 0:
		err = socket.SetKeepAlive(false)
	case l.Idle > 0 || l.Interval > 0 || l.Count > 0:
		// In net.KeepAliveConfig, 0 is a default of package net's own, and a
		// negative value leaves the setting unchanged.
		config := net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}
		if l.Idle > 0 {
			config.Idle = l.Idle
		}
		if l.Interval > 0 {
			config.Interval = l.Interval
		}
		if l.Count > 0 {
			config.Count = l.Count
		}
		err = socket.SetKeepAliveConfig(config)
	}
	if err != nil {
		err = fmt.Errorf("keep-alive: %w", err)
	}
	if l.UserTimeout > 0 {
		if failed := setUserTimeout(socket, l.UserTimeout); failed != nil {
			err = errors.Join(err, fmt.Errorf("TCP user timeout: %w", failed))
		}
	}
	return err
}

// tcpSocket is what *net.TCPConn and *Socket have in common.
type tcpSocket interface {
	syscall.Conn
	SetKeepAlive(on bool) error
	SetKeepAliveConfig(config net.KeepAliveConfig) error
}

// tcpBelow returns the TCP socket of conn, nil if there is none.
func tcpBelow(conn net.Conn) tcpSocket {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c
		case *Socket:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}
