package fronting

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/mtwire/mtwire/mtwiretest"
)

// tlsServers run TLS servers. They return the server's address, or "" if the
// server is not installed.
var tlsServers = map[string]func(t *testing.T, config *tls.Config) (address string){
	"Go": func(t *testing.T, config *tls.Config) string {
		return serve(t, func(conn *net.TCPConn) { tls.Server(conn, config).Handshake() })
	},
	"nginx": func(t *testing.T, _ *tls.Config) string {
		if address, ok := startNginx(t, ""); ok {
			return address
		}
		return ""
	},
}

// endsWithAlert reports whether b is complete TLS records, of which the last one
// is an alert or has the length of an encrypted one.
func endsWithAlert(b []byte) bool {
	const recordAlert, encryptedAlertLength = 21, 2 + 1 + 16
	for len(b) >= recordHeaderLength {
		n := int(b[3])<<8 | int(b[4])
		if len(b) == recordHeaderLength+n {
			return b[0] == recordAlert || b[0] == applicationData && n == encryptedAlertLength
		}
		if len(b) < recordHeaderLength+n {
			break
		}
		b = b[recordHeaderLength+n:]
	}
	return false
}

// A client that sends a ClientHello, and then much that is no TLS, gets the host's
// alert, as it does without the proxy: the host resets the connection, with unread
// bytes, just after the alert. The bytes come before the tunnel or through it.
func TestHostsAlertArrivesAheadOfItsReset(t *testing.T) {
	config, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	for name, start := range tlsServers {
		address := start(t, config)
		if address == "" {
			t.Logf("%s is not installed", name)
			continue
		}
		hello := helloFor(t, "localhost")
		bytes := append(hello, make([]byte, 1<<20)...)
		p, _ := newPool(t, Config{Hosts: []Host{{Domain: "localhost", Address: address}}})
		for _, first := range []int{0, len(hello), 16 << 10, 128 << 10, len(bytes)} {
			t.Run(fmt.Sprintf("%s, %d bytes first", name, first), func(t *testing.T) {
				t.Parallel()
				for range 40 {
					if answer := tunneledAnswer(t, p, bytes, first); !endsWithAlert(answer) {
						t.Fatalf("no alert at the end of %d bytes", len(answer))
					}
				}
			})
		}
	}
}

// tunneledAnswer returns all that a client gets for b, of which the first bytes
// were read before the tunnel.
func tunneledAnswer(t *testing.T, p *Pool, b []byte, first int) (answer []byte) {
	client, server := pair(t)
	defer client.Close()
	done := start(t, func() (Result, error) { return p.Tunnel(context.Background(), server, Client{}, b[:first]) })
	written := make(chan struct{})
	go func() {
		client.Write(b[first:])
		close(written)
	}()
	answer, _ = io.ReadAll(client)
	<-written
	<-done
	return answer
}
