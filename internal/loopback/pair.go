// Package loopback makes connected sockets and self-signed certificates for tests
// over the loopback interface. It imports no wire package, so that the tests of
// those can use it; other tests use package mtwiretest.
package loopback

import "net"

// Pair returns both ends of a TCP connection over loopback. The caller closes
// them.
func Pair() (client, server *net.TCPConn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	dialled, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	accepted, err := ln.Accept()
	if err != nil {
		dialled.Close()
		return nil, nil, err
	}
	return dialled.(*net.TCPConn), accepted.(*net.TCPConn), nil
}
