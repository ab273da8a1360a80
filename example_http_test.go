package mtwire_test

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"time"

	"github.com/mtwire/mtwire"
)

// A web server that has its own pages serves WebSocket and HTTP clients too.
func ExampleHandler() {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "a page") })
	carriers := mtwire.Handler(nil, func(ctx context.Context, conn *mtwire.Conn) {
		for {
			packet, err := conn.Receive(ctx)
			if err != nil {
				return
			}
			conn.Send(ctx, packet.Payload)
		}
	})
	mux.Handle("/apiws", carriers)
	mux.Handle("/api", carriers)
	server := httptest.NewServer(mux)
	defer server.Close()

	ctx := context.Background()
	address := strings.TrimPrefix(server.URL, "http://")
	for _, endpoint := range []string{"ws://" + address + "/apiws", "http://" + address + "/api"} {
		conn, err := mtwire.Dial(ctx, endpoint, nil)
		if err != nil {
			log.Fatal(err)
		}
		conn.Send(ctx, make([]byte, 40))
		packet, err := conn.Receive(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(packet.Payload), "bytes over", conn.Transport())
		conn.Close()
	}
	// Output:
	// 40 bytes over websocket, obfuscated, intermediate
	// 40 bytes over http
}

// A server answers a request without a packet when it has none.
func ExampleConn_SendEmpty() {
	server := httptest.NewServer(mtwire.Handler(nil, func(ctx context.Context, conn *mtwire.Conn) {
		if _, err := conn.Receive(ctx); err == nil {
			conn.SendEmpty(ctx)
		}
	}))
	defer server.Close()

	response, err := http.Post(server.URL+"/api", "", strings.NewReader("http_wait..."))
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	fmt.Println(response.Status, response.ContentLength, "bytes")
	// Output: 200 OK 0 bytes
}

// A client dials again while that may help, with pauses that grow.
func ExampleRetryable() {
	address, stop := startServer(nil)
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	attempts := 0
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if attempts++; attempts < 3 { // a network that comes up
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	pause := time.Millisecond // a second, in a program
	for {
		conn, err := mtwire.Dial(ctx, "tcp://"+address, &mtwire.DialConfig{DialContext: dial})
		if err == nil {
			defer conn.Close()
			break
		}
		if !mtwire.Retryable(err) {
			log.Fatal(err)
		}
		select {
		case <-time.After(pause + rand.N(pause)):
			pause = min(2*pause, time.Minute)
		case <-ctx.Done():
			log.Fatal(ctx.Err())
		}
	}
	fmt.Println("connected at attempt", attempts)
	// Output: connected at attempt 3
}
