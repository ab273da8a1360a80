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
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// "Whoever is not authenticated is piped byte for byte to the fronting host
// and sees that host's own answers": a real TLS client sees its certificate.
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
	p, _ := newPool(t, Config{Hosts: []Host{{"localhost", host.Listener.Addr().String()}}})

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

// "Plain HTTP": the site answers that too.
func TestPlainRequestIsAnsweredByTheHost(t *testing.T) {
	host := httptest.NewServer(http.NotFoundHandler())
	defer host.Close()
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", host.Listener.Addr().String()}}})
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

// "All of whose bytes are still to be read": those read before go first.
func TestWhatWasReadBeforeGoesFirst(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", serve(t, echo(""))}}})
	client, server := pair(t)
	done := start(t, func() (Result, error) {
		return p.Tunnel(context.Background(), server, []byte("first, "))
	})
	send(t, client, "second")
	client.CloseWrite()
	expect(t, client, "first, second")
	expectEnd(t, client)
	if got := <-done; got != (outcome{Result{"a.example", 13, 13}, nil}) {
		t.Errorf("%+v", got)
	}
}

// layer hides what a connection is, so that the bytes are copied.
type layer struct{ net.Conn }

func (l layer) NetConn() net.Conn { return l.Conn }
func (l layer) CloseWrite() error { return l.Conn.(*net.TCPConn).CloseWrite() }

// paths are the ways that bytes can take.
var paths = map[string]func(net.Conn) net.Conn{
	"socket to socket": func(c net.Conn) net.Conn { return c },
	"through a buffer": func(c net.Conn) net.Conn { return layer{c} },
}

// "Half-close is passed on in both directions", and nothing is lost.
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
			p, _ := newPool(t, Config{Hosts: []Host{{"a.example", address}}})
			client, server := pair(t)
			done := start(t, func() (Result, error) { return p.Tunnel(context.Background(), wrap(server), nil) })
			client.Write(question)
			client.CloseWrite()
			if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, answer) {
				t.Errorf("the stranger read %d bytes, %v", len(got), err)
			}
			if got := <-done; got != (outcome{Result{"a.example", 1 << 20, 2 << 20}, nil}) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// The host may end first: then the stranger still may speak.
func TestHostMayEndFirst(t *testing.T) {
	heard := make(chan string, 1)
	address := serve(t, func(conn *net.TCPConn) {
		io.WriteString(conn, "go on")
		conn.CloseWrite()
		got, _ := io.ReadAll(conn)
		heard <- string(got)
	})
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", address}}})
	client, done := tunneled(t, p)
	expect(t, client, "go on")
	expectEnd(t, client)
	send(t, client, "I do")
	client.CloseWrite()
	if got := <-heard; got != "I do" {
		t.Errorf("%q", got)
	}
	if got := <-done; got.err != nil {
		t.Error(got.err)
	}
}

// "A reset from the host becomes a reset to the client."
func TestHostsResetIsPassedOn(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			address := serve(t, func(conn *net.TCPConn) {
				conn.Read(make([]byte, 1))
				conn.SetLinger(0)
			})
			p, _ := newPool(t, Config{Hosts: []Host{{"a.example", address}}})
			client, server := pair(t)
			done := start(t, func() (Result, error) { return p.Tunnel(context.Background(), wrap(server), nil) })
			send(t, client, "x")
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the stranger got %v", err)
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

// And the other way round.
func TestStrangersResetIsPassedOn(t *testing.T) {
	heard := make(chan error, 1)
	address := serve(t, func(conn *net.TCPConn) {
		io.WriteString(conn, "hello")
		_, err := conn.Read(make([]byte, 1))
		heard <- err
	})
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", address}}})
	client, done := tunneled(t, p)
	expect(t, client, "hello")
	client.SetLinger(0)
	client.Close()
	if err := <-heard; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the host got %v", err)
	}
	<-done
}

// unreachable is a host that nobody can connect to.
func unreachable(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no route to host")
}

// "If the host cannot be dialled: do not answer and do not close at once: keep
// reading in silence for a random 10..15 s."
func TestDeadHostIsMetWithSilence(t *testing.T) {
	for name, hosts := range map[string][]Host{"dead": {{"a.example", ""}}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, log := newPool(t, Config{Hosts: hosts, DialContext: unreachable})
				client, server := net.Pipe()
				begin := time.Now()
				done := start(t, func() (Result, error) { return p.Tunnel(t.Context(), server, nil) })
				send(t, client, "GET / HTTP/1.1\r\n\r\n")
				time.Sleep(9 * time.Second)
				send(t, client, "is anybody there?")
				expectEnd(t, client)
				if took := time.Since(begin); took < 10*time.Second || took > 15*time.Second {
					t.Errorf("closed after %v", took)
				}
				if got := <-done; got.err == nil || got.Result != (Result{}) {
					t.Errorf("%+v", got)
				}
				if hosts != nil && !strings.Contains(log.String(), "a.example:443") {
					t.Errorf("the operator reads %q", log)
				}
			})
		})
	}
}

// The operator hears of it once a minute, not once a stranger.
func TestDeadHostIsComplainedAboutOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, log := newPool(t, Config{Hosts: []Host{{"a.example", ""}}, DialContext: unreachable})
		for range 100 {
			client, server := net.Pipe()
			client.Close()
			p.Tunnel(t.Context(), server, nil)
			time.Sleep(time.Second)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 2 {
			t.Errorf("%d complaints", n)
		}
	})
}

// Silence lasts no longer than the stranger, or the proxy.
func TestSilenceEndsWithTheStrangerOrTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newPool(t, Config{})
		client, server := net.Pipe()
		begin := time.Now()
		done := start(t, func() (Result, error) { return p.Tunnel(t.Context(), server, nil) })
		client.Close()
		<-done
		client, server = net.Pipe()
		defer client.Close()
		ctx, cancel := context.WithCancel(t.Context())
		done = start(t, func() (Result, error) { return p.Tunnel(ctx, server, nil) })
		synctest.Wait()
		cancel()
		<-done
		if took := time.Since(begin); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// "MaxConns: piped at one time; beyond it a stranger waits in silence."
func TestTooManyStrangersGetSilence(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", serve(t, echo("hello"))}}, MaxTunnels: 1})
	first, done := tunneled(t, p)
	expect(t, first, "hello")
	second, refused := tunneled(t, p)
	send(t, second, "x")
	second.CloseWrite() // the silence need not be waited for
	expectEnd(t, second)
	if got := <-refused; got.err != ErrBusy {
		t.Errorf("%+v", got)
	}
	first.Close()
	<-done
	third, _ := tunneled(t, p)
	expect(t, third, "hello")
}

// "Until ctx ended."
func TestContextEndsAPair(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", serve(t, echo("hello"))}}})
	client, server := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := start(t, func() (Result, error) { return p.Tunnel(ctx, server, nil) })
	expect(t, client, "hello")
	cancel()
	if got := <-done; got.err != context.Canceled {
		t.Errorf("%+v", got)
	}
	expectEnd(t, client)
}

// "The proxy must not be fronted by itself."
func TestProxyInFrontOfItselfIsNoticed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client.Close() // the silence need not be waited for
	p, log := newPool(t, Config{Hosts: []Host{{"a.example", ln.Addr().String()}}})
	if _, err := p.Tunnel(context.Background(), server, nil); !errors.Is(err, errLoop) {
		t.Error(err)
	}
	if _, err := p.Preconnect(context.Background(), ln.Addr()); !errors.Is(err, errLoop) {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "--front") {
		t.Errorf("the operator reads %q", log)
	}
}

// A stranger that speaks TLS of its own with a domain that is nobody's gets
// what the first host says to it, an alert perhaps, and nothing of ours.
func TestWrongNameGetsTheHostsOwnRefusal(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	refusal := errors.New("unknown name")
	serverTLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, refusal }
	address := serve(t, func(conn *net.TCPConn) { tls.Server(conn, serverTLS).Handshake() })
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", address}}})
	conn, _ := tunneled(t, p)
	clientTLS.ServerName = "b.example"
	var remote *net.OpError
	if err := tls.Client(conn, clientTLS).Handshake(); !errors.As(err, &remote) || remote.Op != "remote error" {
		t.Errorf("%v, want an alert", err)
	}
}
