package main

import (
	"net"

	"github.com/rogpeppe/go-internal/testscript"
)

// serveSTUN runs a STUN server on loopback until the script ends, which sees
// 198.51.100.7 whatever the client's address is. $STUN is its address.
func serveSTUN(ts *testscript.TestScript, neg bool, args []string) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { server.Close() })
	ts.Setenv("STUN", server.LocalAddr().String())
	go func() {
		for request := make([]byte, 100); ; {
			n, from, err := server.ReadFrom(request)
			if err != nil {
				return
			}
			if n != 20 { // a Binding request without attributes
				continue
			}
			// A success response with MAPPED-ADDRESS.
			response := append([]byte{1, 1, 0, 12}, request[4:20]...)
			server.WriteTo(append(response, 0, 1, 0, 8, 0, 1, 0, 80, 198, 51, 100, 7), from)
		}
	}()
}
