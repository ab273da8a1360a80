// Package loopback makes what tests over the loopback interface need: connected
// sockets and a certificate. It is below the wire packages, so that their own
// tests can use it; other tests use package mtwiretest.
package loopback

import "net"

// Pair returns two ends of a TCP connection over loopback.
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
