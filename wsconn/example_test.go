//go:build !js

package wsconn_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/mtwire/mtwire/wsconn"
)

// A server that sends back what it receives, and a client. Both ends are a
// net.Conn.
func Example() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		ws, err := wsconn.Server(ctx, conn, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		io.Copy(ws, ws)
	}()

	ws, err := wsconn.Dial(context.Background(), "ws://"+ln.Addr().String()+"/apiws", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ws.Close()
	ws.Write([]byte("two messages, "))
	ws.Write([]byte("one stream"))
	received := make([]byte, 24)
	if _, err := io.ReadFull(ws, received); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", received)
	// Output: two messages, one stream
}
