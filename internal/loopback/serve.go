package loopback

import (
	"net"
	"sync"
)

// Serve calls handle for each connection of ln, in a goroutine of its own, and closes the
// connection when handle returns. stop closes ln and waits until every handle has returned:
// the peers end their connections before.
func Serve(ln net.Listener, handle func(net.Conn)) (stop func()) {
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	return func() { ln.Close(); running.Wait() }
}
