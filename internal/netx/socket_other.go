//go:build !linux

package netx

import "net"

// Socket is a connection of a Listener or of Connect on Linux. Elsewhere there are
// none.
type Socket struct{ *net.TCPConn }

// Sockets returns ln.
func Sockets(ln net.Listener) net.Listener { return ln }
