package mtwiretest_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A client connects to the data centre, sends req_pq_multi and checks the answer.
func Example() {
	dc := mtwiretest.NewDataCenter(nil)
	defer dc.Close()

	ctx := context.Background()
	conn, err := mtwire.Dial(ctx, "tcp://"+dc.Addr().String()+"?protocol=abridged", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	var nonce [16]byte
	rand.Read(nonce[:])
	if err := conn.Send(ctx, mtwiretest.AppendReqPQ(nil, nonce, nil)); err != nil {
		log.Fatal(err)
	}
	packet, err := conn.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(packet.Payload), mtwiretest.CheckResPQ(packet.Payload, nonce))
	// Output: 84 <nil>
}

// An encrypted message is echoed over every transport.
func ExampleMode() {
	secret, err := mtwire.ParseSecret(mtwiretest.FakeTLSSecret)
	if err != nil {
		log.Fatal(err)
	}
	dc := mtwiretest.NewDataCenter(&mtwiretest.Config{Secrets: []mtwire.Secret{secret}})
	defer dc.Close()

	echo := func(mode mtwiretest.Mode) (string, error) {
		ctx := context.Background()
		config := &mtwire.DialConfig{TLS: dc.ClientTLS, ObfuscatedFull: mode.ObfuscatedFull}
		conn, err := mtwire.Dial(ctx, mode.Endpoint(dc.Addr()), config)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		message, _ := mtwiretest.Seal([]byte("hi there"), frame.Client)
		if err := conn.Send(ctx, message); err != nil {
			return "", err
		}
		packet, err := conn.Receive(ctx)
		if err != nil {
			return "", err
		}
		data, _, err := mtwiretest.Open(packet.Payload, frame.Server)
		return string(data), err
	}
	for _, mode := range append(mtwiretest.DirectModes(), mtwiretest.ProxiedModes()...) {
		data, err := echo(mode)
		if err != nil {
			log.Fatalf("%s: %v", mode.Transport, err)
		}
		fmt.Printf("%s over %s\n", data, mode.Transport)
	}
	// Output:
	// hi there over tcp, abridged
	// hi there over tcp, intermediate
	// hi there over tcp, padded-intermediate
	// hi there over tcp, full
	// hi there over tcp, obfuscated, abridged
	// hi there over websocket, obfuscated, abridged
	// hi there over tls, websocket, obfuscated, abridged
	// hi there over tcp, obfuscated, intermediate
	// hi there over websocket, obfuscated, intermediate
	// hi there over tls, websocket, obfuscated, intermediate
	// hi there over tcp, obfuscated, padded-intermediate
	// hi there over websocket, obfuscated, padded-intermediate
	// hi there over tls, websocket, obfuscated, padded-intermediate
	// hi there over tcp, obfuscated, full
	// hi there over websocket, obfuscated, full
	// hi there over tls, websocket, obfuscated, full
	// hi there over http
	// hi there over tls, http
	// hi there over tcp, obfuscated, abridged
	// hi there over tcp, obfuscated, intermediate
	// hi there over tcp, obfuscated, padded-intermediate
	// hi there over tcp, obfuscated, padded-intermediate
	// hi there over tcp, faketls, obfuscated, padded-intermediate
}
