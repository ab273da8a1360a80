package mtwire_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
)

// startServer starts a server on loopback that echoes each payload, and answers one of four
// bytes with transport error 404.
func startServer(config *mtwire.ListenConfig) (address string, stop func()) {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
			for {
				packet, err := conn.Receive(ctx)
				if err != nil {
					return
				}
				if packet.AckWanted {
					conn.SendPacket(ctx, mtwire.Packet{Kind: mtwire.KindQuickAck, Token: 0x9e42fb8a})
				}
				if len(packet.Payload) == 4 {
					conn.SendError(ctx, 404)
					continue
				}
				conn.Send(ctx, packet.Payload)
			}
		})
	}()
	return ln.Addr().String(), func() { cancel(); <-done }
}

// A client connects, sends a message and receives the answer.
func ExampleDial() {
	address, stop := startServer(nil)
	defer stop()
	ctx := context.Background()

	conn, err := mtwire.Dial(ctx, "tcp://"+address+"?protocol=abridged&obfuscated=true", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	if err := conn.Send(ctx, make([]byte, 40)); err != nil {
		log.Fatal(err)
	}
	packet, err := conn.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(packet.Payload), "bytes over", conn.Transport())
	// Output: 40 bytes over tcp, obfuscated, abridged
}

// A server accepts every transport on one port.
func ExampleListener_Serve() {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer stop()
		for _, url := range []string{"tcp://%v?protocol=full", "ws://%v/apiws", "http://%v/api"} {
			conn, err := mtwire.Dial(ctx, fmt.Sprintf(url, ln.Addr()), nil)
			if err != nil {
				log.Fatal(err)
			}
			conn.Send(ctx, make([]byte, 40))
			conn.Receive(ctx)
			conn.Close()
		}
	}()

	err = ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
		packet, err := conn.Receive(ctx)
		if err != nil {
			return
		}
		fmt.Println(len(packet.Payload), "bytes over", conn.Transport())
		conn.Send(ctx, packet.Payload)
	})
	fmt.Println(err)
	// Output:
	// 40 bytes over tcp, full
	// 40 bytes over websocket, obfuscated, intermediate
	// 40 bytes over http
	// context canceled
}

// A client connects through an MTProxy, whose link is an endpoint like any other. This one
// has a FakeTLS secret. Without a dc parameter, the client requests data centre 2.
func ExampleDial_proxy() {
	secret, err := mtwire.ParseSecret("ee000102030405060708090a0b0c0d0e0f6578616d706c652e636f6d")
	if err != nil {
		log.Fatal(err)
	}
	address, stop := startServer(&mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
	defer stop()
	ctx := context.Background()

	host, port, _ := net.SplitHostPort(address)
	link := "tg://proxy?server=" + host + "&port=" + port + "&secret=" + secret.String()
	conn, err := mtwire.Dial(ctx, link, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	conn.Send(ctx, make([]byte, 40))
	if _, err := conn.Receive(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(conn.Transport(), "to", conn.Transport().DC.Describe())
	// Output: tcp, faketls, obfuscated, padded-intermediate to DC 2
}

// A data centre that does not have the auth key answers with transport error 404. The
// connection stays usable.
func ExampleConn_Receive() {
	address, stop := startServer(nil)
	defer stop()
	ctx := context.Background()
	conn, err := mtwire.Dial(ctx, "tcp://"+address, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	conn.Send(ctx, []byte{1, 2, 3, 4})
	_, err = conn.Receive(ctx)
	var transportError *mtwire.TransportError
	if errors.As(err, &transportError) {
		fmt.Println("code", transportError.Code)
	}
	fmt.Println(err)
	// Output:
	// code 404
	// transport error 404: auth key not found
}

// A client requests a quick acknowledgement, which comes before the answer. Its token is
// frame.QuickAckToken of the auth key and the plaintext of the message.
func ExampleConn_SendPacket() {
	address, stop := startServer(nil)
	defer stop()
	ctx := context.Background()
	conn, err := mtwire.Dial(ctx, "tcp://"+address+"?protocol=intermediate", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	conn.SendPacket(ctx, mtwire.Packet{Payload: make([]byte, 88), AckWanted: true})
	for range 2 {
		packet, err := conn.Receive(ctx)
		if err != nil {
			log.Fatal(err)
		}
		switch packet.Kind {
		case mtwire.KindQuickAck:
			fmt.Printf("quick ack: %08x\n", packet.Token)
		case mtwire.KindPayload:
			fmt.Println("answer:", len(packet.Payload), "bytes")
		}
	}
	// Output:
	// quick ack: 9e42fb8a
	// answer: 88 bytes
}

// A client connects through a SOCKS5 proxy. With "http://" it is an HTTP proxy.
func ExampleProxyDialer() {
	address, stop := startServer(nil)
	defer stop()
	proxyURL, stopProxy := serveProxy("socks5", &loopback.Proxy{Credentials: "user:password"})
	defer stopProxy()

	dial, err := mtwire.ProxyDialer(proxyURL, nil) // socks5://user:password@127.0.0.1:1080
	if err != nil {
		log.Fatal(err)
	}
	conn, err := mtwire.Dial(context.Background(), "tcp://"+address, &mtwire.DialConfig{DialContext: dial})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Println(conn.Transport())
	// Output: tcp, intermediate
}

// A client connects through the proxy that ALL_PROXY or HTTPS_PROXY names, if any, and
// directly otherwise.
func ExampleEnvironmentDialer() {
	address, stop := startServer(nil)
	defer stop()

	dial, err := mtwire.EnvironmentDialer(nil)
	if err != nil {
		log.Fatal(err)
	}
	conn, err := mtwire.Dial(context.Background(), "tcp://"+address, &mtwire.DialConfig{DialContext: dial})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Println(conn.Transport())
	// Output: tcp, intermediate
}

// A server finishes what it has received before it ends, for ten seconds at most.
func ExampleListener_Shutdown() {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- ln.Serve(context.Background(), func(ctx context.Context, conn *mtwire.Conn) {
			for {
				packet, err := conn.Receive(ctx)
				if err != nil {
					return
				}
				conn.Send(ctx, packet.Payload)
			}
		})
	}()
	conn, err := mtwire.Dial(context.Background(), "tcp://"+ln.Addr().String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	conn.Send(context.Background(), make([]byte, 40))
	conn.Receive(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println("shutdown:", ln.Shutdown(ctx))
	fmt.Println("serve:", <-served)
	// Output:
	// shutdown: <nil>
	// serve: shutdown of the listener: use of closed network connection
}

// A client gives up a connection that is not there within five seconds, and detects a
// peer that is gone within a minute: by TCP's probes, and by pings over WebSocket, which
// also keep a connection through proxies that close silent ones.
func ExampleDialConfig_keepAlive() {
	address, stop := startServer(nil)
	defer stop()
	conn, err := mtwire.Dial(context.Background(), "ws://"+address+"/apiws", &mtwire.DialConfig{
		DialTimeout:  5 * time.Second,
		KeepAlive:    &net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3},
		PingInterval: 30 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Println(conn.Transport())
	// Output: websocket, obfuscated, intermediate
}

// A client connects to a data centre by its number. Without DataCenters, the addresses
// are those of the public table. The first one here does not answer.
func ExampleDialDC() {
	address, stop := startServer(nil)
	defer stop()
	conn, err := mtwire.DialDC(context.Background(), 2, &mtwire.DialConfig{
		DataCenters: map[mtwire.DC][]string{2: {"127.0.0.1:1", address}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Println(conn.Transport(), "to", conn.Transport().DC.Describe())
	// Output: tcp, obfuscated, intermediate to DC 2
}
