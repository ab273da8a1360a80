package faketls_test

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
)

// A client and a server exchange hellos over a pipe, and then bytes.
func Example() {
	key := [16]byte{1, 2, 3}
	near, far := net.Pipe()
	go func() {
		client := faketls.Client(near, &faketls.ClientConfig{Key: key, Domain: "example.com"})
		client.Write([]byte("hello")) // after the handshake
	}()

	// The server reads no byte beyond the hello, and answers it only if the
	// client is authenticated.
	var b []byte
	hello, n, err := faketls.ParseClientHello(b)
	for err == faketls.ErrIncomplete {
		more := make([]byte, n-len(b))
		if _, err := io.ReadFull(far, more); err != nil {
			panic(err)
		}
		b = append(b, more...)
		hello, n, err = faketls.ParseClientHello(b)
	}
	if err != nil {
		panic(err)
	}
	index, clientTime := hello.MatchAny([][16]byte{key})
	if index < 0 {
		panic(faketls.ErrNoMatch)
	}
	if err := faketls.CheckClock(clientTime, time.Now(), faketls.DefaultWindow); err != nil {
		panic(err)
	}
	flight, err := faketls.AppendServerHello(nil, &hello, key, faketls.ServerHelloShape{}, nil)
	if err != nil {
		panic(err)
	}
	far.Write(flight)
	server := faketls.NewConn(far, frame.Server)
	received := make([]byte, 5)
	io.ReadFull(server, received)
	fmt.Printf("key %d, SNI %s: %s\n", index, hello.SNI, received)
	// Output: key 0, SNI example.com: hello
}
