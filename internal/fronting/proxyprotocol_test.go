package fronting

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
)

// addressedHost is a host that takes PROXY protocol headers, on TCP and on a Unix
// socket.
type addressedHost struct {
	tcp, unix string              // addresses
	sources   chan netip.AddrPort // from the headers
}

// newAddressedHost runs a host that reads the header of each connection and hands
// the connection to serve.
func newAddressedHost(t *testing.T, serve func(net.Conn)) *addressedHost {
	t.Helper()
	path := filepath.Join(t.TempDir(), "site.sock")
	h := &addressedHost{unix: "unix:" + path, sources: make(chan netip.AddrPort, 100)}
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": path} {
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if network == "tcp" {
			h.tcp = ln.Addr().String()
		}
		t.Cleanup(loopback.Serve(ln, func(conn net.Conn) {
			conn.SetDeadline(time.Now().Add(testTimeout))
			source, err := proxyprotocol.Read(conn)
			if err != nil {
				t.Errorf("the host reads a header: %v", err)
				return
			}
			h.sources <- source
			serve(conn)
		}))
	}
	return h
}

// The host gets the client's address in front of the client's bytes, over TCP and
// over a Unix socket, at each version; also if it is connected ahead of the
// client's bytes, and if these name another host than the one connected.
func TestHostGetsTheClientsAddress(t *testing.T) {
	h := newAddressedHost(t, func(conn net.Conn) { io.Copy(conn, conn) })
	client := Client{Remote: netip.MustParseAddrPort("192.0.2.7:40000"), Local: netip.MustParseAddrPort("198.51.100.1:443")}
	first := helloFor(t, "b.example")
	for _, version := range []proxyprotocol.Version{proxyprotocol.V1, proxyprotocol.V2} {
		for _, address := range []string{h.tcp, h.unix} {
			p, _ := newPool(t, Config{Hosts: []Host{
				{Domain: "a.example", Address: address, ProxyProtocol: version},
				{Domain: "b.example", Address: address, ProxyProtocol: version},
			}})
			for name, tunnel := range map[string]func(net.Conn) (Result, error){
				"tunnel": func(conn net.Conn) (Result, error) { return p.Tunnel(context.Background(), conn, client, first) },
				"preconnected": func(conn net.Conn) (Result, error) {
					c, err := p.Preconnect(context.Background(), client, first)
					if err != nil {
						return Result{}, err
					}
					return c.Tunnel(context.Background(), conn, first)
				},
				"other host": func(conn net.Conn) (Result, error) {
					c, err := p.Preconnect(context.Background(), client, nil)
					if err != nil {
						return Result{}, err
					}
					<-h.sources
					return c.Tunnel(context.Background(), conn, first)
				},
			} {
				conn, server := pair(t)
				done := start(t, func() (Result, error) { return tunnel(server) })
				expect(t, conn, string(first))
				conn.CloseWrite()
				expectEnd(t, conn)
				if got := <-done; got != (outcome{Result{"b.example", int64(len(first)), int64(len(first))}, nil}) {
					t.Errorf("version %d, %s, %s: %+v", version, address, name, got)
				}
				if got := <-h.sources; got != client.Remote {
					t.Errorf("version %d, %s, %s: the host sees %v", version, address, name, got)
				}
			}
		}
	}
}

// A probe's header is that of a connection without a client, and the measurement
// is the same.
func TestProbeHasNoClientsAddress(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	h := newAddressedHost(t, func(conn net.Conn) { serveTLS(conn, config) })
	for _, version := range []proxyprotocol.Version{proxyprotocol.V1, proxyprotocol.V2} {
		for _, address := range []string{h.tcp, h.unix} {
			p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address, ProxyProtocol: version}}})
			if m, err := p.probe(t.Context(), only(p), false); err != nil || m.shape.DataSize == 0 {
				t.Errorf("version %d, %s: %+v, %v", version, address, m, err)
			}
			if got := <-h.sources; got.IsValid() && !got.Addr().IsLoopback() { // its own, none on a Unix socket
				t.Errorf("version %d, %s: the host sees %v", version, address, got)
			}
		}
	}
}

// Bytes go both ways over a Unix socket, and ends of stream are passed on.
func TestUnixSocketCarriesATunnel(t *testing.T) {
	question, answer := make([]byte, 1<<20), make([]byte, 2<<20)
	rand.Read(question)
	rand.Read(answer)
	path := filepath.Join(t.TempDir(), "site.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			served <- err
			return
		}
		defer conn.Close()
		got, err := io.ReadAll(conn)
		if !bytes.Equal(got, question) {
			t.Errorf("the host read %d bytes", len(got))
		}
		conn.Write(answer)
		served <- err
	}()
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: "unix:" + path}}})
	client, done := tunneled(t, p)
	client.Write(question)
	client.CloseWrite()
	if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, answer) {
		t.Errorf("the client read %d bytes, %v", len(got), err)
	}
	if got := <-done; got != (outcome{Result{"a.example", 1 << 20, 2 << 20}, nil}) {
		t.Errorf("%+v", got)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// Another version of the header makes another host, whose measurements begin anew.
func TestHostWithAnotherHeaderIsAnotherHost(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example"}}})
	before := only(p)
	if err := p.SetHosts([]Host{{Domain: "a.example", ProxyProtocol: proxyprotocol.V2}}); err != nil || only(p) == before {
		t.Errorf("%v, %+v", err, only(p))
	}
	if err := p.SetHosts([]Host{{Domain: "a.example", ProxyProtocol: 3}}); err == nil {
		t.Error("SetHosts accepts version 3")
	}
	for _, address := range []string{"unix:", "unix:site.sock", "unix"} {
		if err := p.SetHosts([]Host{{Domain: "a.example", Address: address}}); err == nil {
			t.Errorf("SetHosts accepts %s", address)
		}
	}
}
