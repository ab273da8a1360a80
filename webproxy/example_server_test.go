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

// A relay before one's own site: visitors see the site, and clients with the link
// get streams, which this one sends back. An MTProxy takes server as a listener.
func ExampleServer() {
	secret, _ := mtproxy.ParseSecret("000102030405060708090a0b0c0d0e0f")
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "my site") })
	server, err := webproxy.NewServer(webproxy.ServerConfig{
		Host:  "example.com",
		Users: []webproxy.User{{Name: "alice", Secret: secret, Carrier: webproxy.WebSocket}},
		Site:  site,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, io.LimitReader(conn, 5))
			}()
		}
	}()

	// In place of http.Server{Handler: server}.ServeTLS on port 443.
	web := httptest.NewTLSServer(server)
	defer web.Close()
	resp, _ := web.Client().Get(web.URL)
	page, _ := io.ReadAll(resp.Body)
	fmt.Printf("%s\n", page)

	link := webproxy.Link{Host: "example.com", Secret: secret}
	client, err := webproxy.Dial(context.Background(), link, &webproxy.DialConfig{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, web.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	conn, err := client.Open(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(conn, "hello")
	answer, err := io.ReadAll(conn)
	fmt.Printf("%s %v %v\n", answer, err, client.Carrier())
	// Output:
	// my site
	// hello <nil> websocket
}
