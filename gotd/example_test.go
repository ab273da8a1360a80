package gotd_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/gotd"
)

// A client whose connections go through an MTProxy, media included, and have ten seconds.
func ExampleNewResolver() {
	const link = "tg://proxy?server=proxy.example.com&port=443&secret=dd000102030405060708090a0b0c0d0e0f"
	resolver, err := gotd.NewResolver(link, &mtwire.DialConfig{DialTimeout: 10 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	client := telegram.NewClient(1, "app hash", telegram.Options{Resolver: resolver})
	_ = client.Run // connects
	fmt.Println(resolver.Endpoint.Address)
	// Output: proxy.example.com:443
}

// A server of gotd gets connections of every transport on one port.
func ExampleListener() {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	listener := gotd.Listener(ln)
	defer listener.Close()
	go func() {
		conn, err := listener.Accept() // a transport.Conn; tgtest's Server does this
		if err == nil {
			conn.Close()
		}
	}()
	resolver, err := gotd.NewResolver("ws://"+ln.Addr().String()+"/apiws", nil)
	if err != nil {
		log.Fatal(err)
	}
	_, err = resolver.Primary(context.Background(), 2, dcs.List{})
	fmt.Println(err != nil) // the server above closes all connections
	// Output: true
}
