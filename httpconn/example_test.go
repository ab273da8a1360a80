package httpconn_test

import (
	"context"
	"fmt"
	"net"

	"github.com/mtwire/mtwire/httpconn"
)

// A server that answers each packet with itself, and a client.
func Example() {
	ctx := context.Background()
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
		server := httpconn.NewServer(conn, nil)
		defer server.Close()
		for {
			packet, err := server.Receive(ctx)
			if err != nil {
				return
			}
			if err := server.Send(ctx, packet); err != nil {
				return
			}
		}
	}()

	client, err := httpconn.NewClient("http://"+ln.Addr().String()+"/api", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	if err := client.Send(ctx, []byte("the body of a POST, 8 to 2^24 bytes.")); err != nil {
		fmt.Println(err)
		return
	}
	answer, err := client.Receive(ctx)
	fmt.Printf("%s %v\n", answer, err)
	// Output: the body of a POST, 8 to 2^24 bytes. <nil>
}
