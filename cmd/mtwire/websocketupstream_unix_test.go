//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"log"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/webproxy"
)

// trusted makes a certificate for names, and returns it and a change of a command that
// makes its process trust it.
func trusted(t *testing.T, names ...string) (server *tls.Config, change func(*exec.Cmd)) {
	t.Helper()
	server, _, err := loopback.Certificate(names...)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "root.pem")
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificates[0].Certificate[0]})
	if err := os.WriteFile(file, root, 0o600); err != nil {
		t.Fatal(err)
	}
	return server, func(c *exec.Cmd) { c.Env = append(c.Env, "SSL_CERT_FILE="+file) }
}

// echoUntil serves echo on ln until the end of the test, and returns the number of
// connections that are open.
func echoUntil(t *testing.T, ln *mtwire.Listener) (open *atomic.Int32) {
	ctx, cancel := context.WithCancel(context.Background())
	served, open := make(chan error, 1), new(atomic.Int32)
	go func() {
		served <- ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
			open.Add(1)
			defer open.Add(-1)
			mtwiretest.Echo(ctx, conn)
		})
	}()
	t.Cleanup(func() { cancel(); <-served })
	return open
}

// checkBulk sends packets of up to 700 KB through the proxy, and expects them back.
func (s *server) checkBulk(t *testing.T) {
	t.Helper()
	query := "?secret=" + mtwiretest.PlainSecret + "&protocol=intermediate&dc=-4"
	eventually(t, "a connection", func() bool {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	for range 3 {
		conn, err := mtwire.Dial(t.Context(), "tcp://"+s.address+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		random := rand.New(rand.NewPCG(1, 2))
		for _, blocks := range []int{2, 40_000, 5} {
			payload := make([]byte, 24+16*blocks)
			for i := range payload {
				payload[i] = byte(random.Uint32())
			}
			if err := conn.Send(t.Context(), payload); err != nil {
				t.Fatal(err)
			}
			if p, err := conn.Receive(t.Context()); err != nil || !bytes.Equal(p.Payload, payload) {
				t.Fatalf("%d bytes came back as %d, %v", len(payload), len(p.Payload), err)
			}
		}
	}
}

// A local proxy reaches the data centres at a WebSocket, with --upstream alone, and
// through a SOCKS5 proxy. It trusts what the system trusts.
func TestTheProxyReachesDataCentresAtAWebSocket(t *testing.T) {
	certificate, trust := trusted(t)
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{TLS: certificate})
	if err != nil {
		t.Fatal(err)
	}
	open := echoUntil(t, ln)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	upstream := "wss://localhost:" + port + "/apiws"
	socks := startSOCKS5(t, nil)
	for _, text := range []string{upstream, upstream + "?via=socks5://" + socks} {
		address, err := loopback.FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		s := startCommand(t, address, trust, "mtwire", "proxy", "--listen", address, "--upstream", text)
		s.checkBulk(t)
		// Clients that have gone are gone at the data centre, too.
		eventually(t, "the end of the connections", func() bool { return open.Load() == 0 })
	}
}

// The same by a WEB proxy, whose session all clients share.
func TestTheProxyReachesDataCentresByAWEBProxy(t *testing.T) {
	certificate, trust := trusted(t, "web.example")
	secret, err := mtwire.ParseSecret(mtwiretest.PlainSecret)
	if err != nil {
		t.Fatal(err)
	}
	relay, err := webproxy.NewServer(webproxy.ServerConfig{Host: "web.example", Users: []webproxy.User{{Secret: secret, Carrier: webproxy.WebSocket}}})
	if err != nil {
		t.Fatal(err)
	}
	open := echoUntil(t, mtwire.NewListener(relay, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}}))
	web := httptest.NewUnstartedServer(relay)
	web.TLS, web.Config.ErrorLog = certificate, log.New(t.Output(), "", 0)
	web.StartTLS()
	t.Cleanup(func() { web.CloseClientConnections(); web.Close() })
	socks := startSOCKS5(t, map[string]string{"web.example:443": web.Listener.Addr().String()})
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	link := webproxy.Link{Host: "web.example", Secret: secret}.String() + "&via=socks5://" + socks
	s := startCommand(t, address, trust, "mtwire", "proxy", "--listen", address, "--upstream", link)
	s.checkBulk(t)
	eventually(t, "the end of the streams", func() bool { return open.Load() == 0 })
	if stats := relay.Stats(); stats.Sessions != 1 {
		t.Errorf("%+v", stats)
	}
}

// startSOCKS5 starts a SOCKS5 proxy, which dials other hosts than it is asked for.
func startSOCKS5(t *testing.T, hosts map[string]string) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for conn, err := ln.Accept(); err == nil; conn, err = ln.Accept() {
			go (&loopback.Proxy{Hosts: hosts}).SOCKS5(conn)
		}
	}()
	return ln.Addr().String()
}
