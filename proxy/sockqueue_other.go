//go:build !linux

package proxy

import "net"

// queuedBytes reports false: systems other than Linux do not tell.
func queuedBytes(net.Conn) bool { return false }

// unreadBytes reports false: systems other than Linux do not tell.
func unreadBytes(net.Conn) bool { return false }
