// Client sends the first message of a key exchange to an endpoint, and prints the
// response.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log"
	"os"

	"github.com/mtwire/mtwire"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: client tcp://… | wss://… | https://… | tg://proxy?… | tg://webproxy?…")
	}
	ctx := context.Background()
	conn, err := mtwire.Dial(ctx, os.Args[1], nil)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	request, _ := hex.DecodeString("0000000000000000" + "0000000001006067" + "14000000" + "f18e7ebe")
	if err := conn.Send(ctx, append(request, rand.Text()[:16]...)); err != nil { // req_pq_multi
		log.Fatal(err)
	}
	packet, err := conn.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d bytes over %v: %x\n", len(packet.Payload), conn.Transport(), packet.Payload)
}
