package fronting

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire/mtwiretest"
)

// A tunnel is transparent to TLS: a client sees the host's certificate and site.
func TestBrowserSeesTheHostsCertificate(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	host := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "the site "+r.Host)
	}))
	host.TLS = serverTLS
	host.StartTLS()
	defer host.Close()
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "localhost", Address: host.Listener.Addr().String()}}})

	var done <-chan outcome
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: clientTLS,
		DialContext: func(context.Context, string, string) (conn net.Conn, err error) {
			conn, done = tunneled(t, p)
			return conn, nil
		},
	}}
	answer, err := client.Get("https://localhost/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil || string(body) != "the site localhost" {
		t.Errorf("%q, %v", body, err)
	}
	if !bytes.Equal(answer.TLS.PeerCertificates[0].Raw, serverTLS.Certificates[0].Certificate[0]) {
		t.Error("another certificate")
	}
	client.CloseIdleConnections()
	if got := <-done; got.Domain != "localhost" || got.Up == 0 || got.Down == 0 {
		t.Errorf("%+v", got)
	}
}

// Plain HTTP gets the host's own answer, an error page here.
func TestPlainRequestIsAnsweredByTheHost(t *testing.T) {
	host := httptest.NewServer(http.NotFoundHandler())
	defer host.Close()
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: host.Listener.Addr().String()}}})
	client, done := tunneled(t, p)
	send(t, client, "GET /nothing HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil || answer.StatusCode != http.StatusNotFound {
		t.Fatalf("%+v, %v", answer, err)
	}
	io.Copy(io.Discard, answer.Body)
	client.Close()
	if got := <-done; got.err != nil {
		t.Error(got.err)
	}
}

// A TLS client that names an unknown domain gets the first host's own answer, an
// alert here, and none of the proxy's.
func TestUnknownNameGetsTheHostsOwnAlert(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	refusal := errors.New("unknown name")
	serverTLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, refusal }
	address := serve(t, func(conn *net.TCPConn) { tls.Server(conn, serverTLS).Handshake() })
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}})
	conn, _ := tunneled(t, p)
	clientTLS.ServerName = "b.example"
	var remote *net.OpError
	if err := tls.Client(conn, clientTLS).Handshake(); !errors.As(err, &remote) || remote.Op != "remote error" {
		t.Errorf("%v, want an alert", err)
	}
}

// The host gets the bytes that were read before Tunnel first.
func TestFirstBytesGoFirst(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, echo(""))}}})
	client, server := pair(t)
	done := start(t, func() (Result, error) {
		return p.Tunnel(context.Background(), server, Client{}, []byte("first, "))
	})
	send(t, client, "second")
	client.CloseWrite()
	expect(t, client, "first, second")
	expectEnd(t, client)
	if got := <-done; got != (outcome{Result{"a.example", 13, 13}, nil}) {
		t.Errorf("%+v", got)
	}
}

// layer hides a socket, so that its bytes are copied through a buffer.
type layer struct{ net.Conn }

func (l layer) NetConn() net.Conn { return l.Conn }
func (l layer) CloseWrite() error { return l.Conn.(*net.TCPConn).CloseWrite() }

// paths are the ways to copy bytes.
var paths = map[string]func(net.Conn) net.Conn{
	"socket to socket": func(c net.Conn) net.Conn { return c },
	"through a buffer": func(c net.Conn) net.Conn { return layer{c} },
}

// A half-close is passed on in both directions, and no byte before it is lost.
func TestHalfClosesArePassedOn(t *testing.T) {
	question, answer := make([]byte, 1<<20), make([]byte, 2<<20)
	rand.Read(question)
	rand.Read(answer)
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			address := serve(t, func(conn *net.TCPConn) {
				if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, question) {
					t.Errorf("the host read %d bytes, %v", len(got), err)
				}
				conn.Write(answer)
			})
			p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}})
			client, server := pair(t)
			done := start(t, func() (Result, error) { return p.Tunnel(context.Background(), wrap(server), Client{}, nil) })
			client.Write(question)
			client.CloseWrite()
			if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, answer) {
				t.Errorf("the client read %d bytes, %v", len(got), err)
			}
			if got := <-done; got != (outcome{Result{"a.example", 1 << 20, 2 << 20}, nil}) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// After the host's half-close the client's bytes still go to the host.
func TestHostMayEndFirst(t *testing.T) {
	received := make(chan string, 1)
	address := serve(t, func(conn *net.TCPConn) {
		io.WriteString(conn, "go on")
		conn.CloseWrite()
		got, _ := io.ReadAll(conn)
		received <- string(got)
	})
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}})
	client, done := tunneled(t, p)
	expect(t, client, "go on")
	expectEnd(t, client)
	send(t, client, "I do")
	client.CloseWrite()
	if got := <-received; got != "I do" {
		t.Errorf("%q", got)
	}
	if got := <-done; got.err != nil {
		t.Error(got.err)
	}
}

// A reset from the host becomes a reset to the client. The error has no address.
func TestHostsResetIsPassedOn(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			address := serve(t, func(conn *net.TCPConn) {
				conn.Read(make([]byte, 1))
				conn.SetLinger(0)
			})
			p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}})
			client, server := pair(t)
			done := start(t, func() (Result, error) { return p.Tunnel(context.Background(), wrap(server), Client{}, nil) })
			send(t, client, "x")
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client got %v, want a reset", err)
			}
			got := <-done
			if !errors.Is(got.err, syscall.ECONNRESET) {
				t.Errorf("%+v", got)
			}
			if strings.Contains(got.err.Error(), "127.0.0.1") {
				t.Errorf("an address in %q", got.err)
			}
		})
	}
}

// A reset from the client becomes a reset to the host.
func TestClientsResetIsPassedOn(t *testing.T) {
	received := make(chan error, 1)
	address := serve(t, func(conn *net.TCPConn) {
		io.WriteString(conn, "hello")
		_, err := conn.Read(make([]byte, 1))
		received <- err
	})
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}})
	client, done := tunneled(t, p)
	expect(t, client, "hello")
	client.SetLinger(0)
	client.Close()
	if err := <-received; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the host got %v, want a reset", err)
	}
	<-done
}

// The end of the context ends a tunnel, and closes the client.
func TestContextEndsATunnel(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, echo("hello"))}}})
	client, server := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := start(t, func() (Result, error) { return p.Tunnel(ctx, server, Client{}, nil) })
	expect(t, client, "hello")
	cancel()
	if got := <-done; got.err != context.Canceled {
		t.Errorf("%+v", got)
	}
	expectEnd(t, client)
}
