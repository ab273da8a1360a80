package webpage

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

const secretText = "000102030405060708090a0b0c0d0e0f"

// relay is a web server with a relay whose streams are echoed. Its host name is known to
// the browser, which takes its port for 443.
type relay struct {
	t    *testing.T
	link webproxy.Link
	ln   *listener

	mu        sync.Mutex
	server    *webproxy.Server
	requests  []string
	intercept func(w http.ResponseWriter, r *http.Request) bool // answers in place of the server
}

// listener is a net.Listener whose connections end after a number of bytes.
type listener struct {
	net.Listener
	next func() int64 // bytes of the next connection
	cuts atomic.Int64
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	cut := &cutConn{Conn: c, cuts: &l.cuts}
	cut.left.Store(l.next())
	return cut, nil
}

func unlimited() int64 { return 1 << 40 }

type connKey struct{}

type cutConn struct {
	net.Conn
	left atomic.Int64
	cuts *atomic.Int64
}

func (c *cutConn) spend(n int, err error) (int, error) {
	if left := c.left.Add(-int64(n)); left < 0 {
		if left+int64(n) >= 0 {
			c.cuts.Add(1)
		}
		c.Conn.Close()
		return 0, errors.New("cut")
	}
	return n, err
}

func (c *cutConn) Read(p []byte) (int, error) { return c.spend(c.Conn.Read(p)) }

// Write sends a part of p before the end.
func (c *cutConn) Write(p []byte) (int, error) {
	part := p
	if left := c.left.Load(); left >= 0 && int64(len(p)) > left {
		part = p[:left]
	}
	n, err := c.Conn.Write(part)
	if len(part) < len(p) {
		return c.spend(len(p), err)
	}
	return c.spend(n, err)
}

// newRelay starts a relay on a listener.
func newRelay(t *testing.T, name, path string, ln net.Listener, carrier webproxy.Carrier, next func() int64) *relay {
	t.Helper()
	secret, err := mtproxy.ParseSecret(secretText)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, link: webproxy.Link{Host: name, Path: path, Secret: secret}, ln: &listener{Listener: ln, next: next}}
	r.restart(carrier)
	web := &http.Server{Handler: r, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}, ErrorLog: log.New(io.Discard, "", 0),
		// As in internal/service/web.
		HTTP2: &http.HTTP2Config{MaxReadFrameSize: 16 << 10, MaxEncoderHeaderTableSize: 1, MaxDecoderHeaderTableSize: 1},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c.(*tls.Conn).NetConn())
		}}
	go web.ServeTLS(r.ln, "", "")
	t.Cleanup(func() {
		r.current().Close()
		web.Close()
	})
	return r
}

// restart replaces the relay: the sessions of the old one are gone.
func (r *relay) restart(carrier webproxy.Carrier) {
	server, err := webproxy.NewServer(webproxy.ServerConfig{
		Host: r.link.Host, Path: r.link.Path, Users: []webproxy.User{{Name: "u", Secret: r.link.Secret, Carrier: carrier}},
		Logger: slog.New(slog.NewTextHandler(r.t.Output(), nil)),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	go echo(server)
	r.mu.Lock()
	old := r.server
	r.server = server
	r.mu.Unlock()
	if old != nil {
		old.Close()
	}
}

func (r *relay) current() *webproxy.Server {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.server
}

func (r *relay) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	server, intercept := r.server, r.intercept
	r.requests = append(r.requests, request.Method+" "+request.URL.Path)
	r.mu.Unlock()
	if intercept == nil || !intercept(w, request) {
		server.ServeHTTP(w, request)
	}
}

// got reports whether there was a request, such as "DELETE /api/v1/session".
func (r *relay) got(request string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.requests, request)
}

// page returns the URL that an app loads.
func (r *relay) page() string {
	return fmt.Sprintf("https://%s%s?bridge=%s", r.link.Host, r.link.Base(), r.link.Capability())
}

// echo sends back what each stream receives. A stream that begins with "bye" is closed.
func echo(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			b := make([]byte, 64<<10)
			for {
				n, err := conn.Read(b)
				if err != nil {
					return
				}
				conn.Write(b[:n])
				if n == 3 && string(b[:n]) == "bye" {
					return
				}
			}
		}()
	}
}

// certificate returns a self-signed certificate. The browser ignores its errors.
var certificate = func() func(t *testing.T) tls.Certificate {
	var once sync.Once
	var made tls.Certificate
	return func(t *testing.T) tls.Certificate {
		once.Do(func() {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"*.example.com"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
			der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
			if err != nil {
				t.Fatal(err)
			}
			made = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
		})
		return made
	}
}()

// eventually waits for a condition that the browser brings about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for start := time.Now(); !condition(); time.Sleep(time.Millisecond) {
		if time.Since(start) > timeout {
			t.Fatal("waited for " + what)
		}
	}
}

// timeout bounds what the browser has to do, on a slow machine.
const timeout = time.Minute
