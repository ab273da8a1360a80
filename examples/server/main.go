// Server serves every transport on one port, and sends each packet back.
package main

import (
	"context"
	"log"

	"github.com/mtwire/mtwire"
)

func main() {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:7443", nil)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(ln.Serve(context.Background(), func(ctx context.Context, conn *mtwire.Conn) {
		for {
			packet, err := conn.Receive(ctx)
			if err != nil {
				return
			}
			log.Printf("%d bytes over %v", len(packet.Payload), conn.Transport())
			if err := conn.Send(ctx, packet.Payload); err != nil {
				return
			}
		}
	}))
}
