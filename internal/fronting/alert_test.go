package fronting

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// tlsServers run TLS servers. They return the server's address, or "" if the
// server is not installed.
var tlsServers = map[string]func(t *testing.T, config *tls.Config) (address string){
	"Go": func(t *testing.T, config *tls.Config) string {
		return serve(t, func(conn *net.TCPConn) { tls.Server(conn, config).Handshake() })
	},
	"nginx": startNginx,
}

// startNginx runs nginx with the certificate of config.
func startNginx(t *testing.T, config *tls.Config) (address string) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		return ""
	}
	dir := t.TempDir()
	certificate := config.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = ln.Addr().String()
	ln.Close()
	settings := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s ssl;
		ssl_certificate %[1]s/certificate; ssl_certificate_key %[1]s/key; ssl_protocols TLSv1.2 TLSv1.3;
	}
}
`, dir, address)
	for name, content := range map[string][]byte{
		"settings":    []byte(settings),
		"certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}),
		"key":         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "settings"))
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command.Process.Kill(); command.Wait() })
	for range 500 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nginx does not listen")
	return ""
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
