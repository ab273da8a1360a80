//go:build !js

package webproxy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

// Streams to a relay share a session.
func ExampleDialer() {
	secret, _ := mtproxy.ParseSecret("000102030405060708090a0b0c0d0e0f")
	server, _ := webproxy.NewServer(webproxy.ServerConfig{Host: "example.com", Users: []webproxy.User{{Secret: secret}}})
	defer server.Close()
	go func() {
		for conn, err := server.Accept(); err == nil; conn, err = server.Accept() {
			go io.Copy(conn, conn)
		}
	}()
	web := httptest.NewTLSServer(server)
	defer web.Close()

	dialer := &webproxy.Dialer{
		Link: webproxy.Link{Host: "example.com", Secret: secret},
		Config: &webproxy.DialConfig{ // which a relay on the Internet does not need
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, web.Listener.Addr().String())
			},
			TLSClientConfig: &tls.Config{RootCAs: web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
		},
	}
	defer dialer.Close()
	for _, text := range []string{"one", "two"} {
		stream, err := dialer.Open(context.Background())
		if err != nil {
			fmt.Println(err)
			return
		}
		defer stream.Close()
		io.WriteString(stream, text)
		echo := make([]byte, len(text))
		io.ReadFull(stream, echo)
		fmt.Printf("%s\n", echo)
	}
	fmt.Println(dialer.Sessions(), "session")
	// Output:
	// one
	// two
	// 1 session
}
