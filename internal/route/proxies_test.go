package route

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// SOCKS5 and HTTP proxies work with and without credentials, by address and by a
// name that the proxy resolves.
func TestUpstreamGoesThroughProxies(t *testing.T) {
	address, transports := dataCenter(t)
	_, port, _ := net.SplitHostPort(address)
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"socks5", "socks5h", "http", "https"} {
		for _, credentials := range []string{"", "me:pass word"} {
			p := &loopback.Proxy{Credentials: credentials, Hosts: map[string]string{"dc.test:443": address}, Requested: make(chan string, 10)}
			ln := listen(t)
			server := ln.Addr().String()
			handle := p.SOCKS5
			switch scheme {
			case "https":
				ln, handle = tls.NewListener(ln, serverTLS), p.HTTP
			case "http":
				handle = p.HTTP
			}
			serve(t, ln, handle)
			text := scheme + "://" + strings.Replace(credentials, " ", "%20", 1) + "@" + server
			text = strings.Replace(text, "//@", "//", 1)
			for _, target := range []string{"127.0.0.1:" + port, "dc.test:443"} {
				r := router(t, Config{DataCenters: at(target), Upstreams: upstreams(t, text), TLS: clientTLS})
				download := keyStream()
				upstream, err := r.Dial(short(t), Request{DC: 2, Protocol: frame.PaddedIntermediate, Download: download})
				if err != nil {
					t.Fatal(err)
				}
				want := strings.TrimSuffix(scheme, "h") + "://" + server
				if _, bare := upstream.Stream.Conn.(*net.TCPConn); bare == (scheme == "https") || upstream.Via != want || upstream.Address != target || upstream.Stream.Receive != nil {
					t.Errorf("%T to %s via %s", upstream.Stream.Conn, upstream.Address, upstream.Via)
				}
				echo(t, upstream, frame.PaddedIntermediate, download)
				if requested := <-p.Requested; requested != target {
					t.Errorf("%s: the request is for %s", scheme, requested)
				}
				<-transports
			}
		}
	}
}

// A dial error contains the DC, the address, the upstream and the cause, and no
// credentials.
func TestDialErrorHasTheProxysRefusalAndNoCredentials(t *testing.T) {
	dead := deadAddress(t)
	server, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	socks, http := listen(t), listen(t)
	secure := listen(t)
	p := &loopback.Proxy{Credentials: "me:right", Requested: make(chan string, 10)}
	serve(t, socks, p.SOCKS5)
	serve(t, http, p.HTTP)
	serve(t, tls.NewListener(secure, server), p.HTTP)
	for _, c := range []struct {
		scheme, credentials string
		ln                  net.Listener
		want                string
	}{
		{"socks5", "me:wrong@", socks, "username/password authentication failed"},
		{"socks5", "", socks, "no acceptable authentication methods"},
		{"socks5", "me:right@", socks, "connection refused"},
		{"http", "me:wrong@", http, "the HTTP proxy responded 407 Proxy Authentication Required"},
		{"http", "me:right@", http, "the HTTP proxy responded 502 Bad Gateway"},
		{"https", "me:right@", secure, "certificate"},
		{"http", "me:right@", socks, "response of the HTTP proxy"},
	} {
		proxy := c.ln.Addr().String()
		r := router(t, Config{DataCenters: at(dead), Upstreams: upstreams(t, c.scheme+"://"+c.credentials+proxy)})
		_, err := r.Dial(short(t), Request{DC: -4, Protocol: frame.Abridged})
		if err == nil || !strings.HasPrefix(err.Error(), "DC 4, media: "+dead+" ("+c.scheme+"://"+proxy+"): ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %q: %v", c.scheme, c.credentials, err)
			continue
		}
		for _, secret := range []string{"me:", "wrong", "right", "\n"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error has %q: %v", secret, err)
			}
		}
	}
}

// The header of a response is limited to 16 KiB, and bytes behind it are an error.
func TestBadResponseOfAnHTTPProxyIsAnError(t *testing.T) {
	for name, c := range map[string]struct{ response, want string }{
		"an endless header":       {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20<<10), "longer than 16384 bytes"},
		"endless lines":           {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 5000), "longer than 16384 bytes"},
		"bytes behind the header": {"HTTP/1.1 200 OK\r\n\r\nhello", "bytes behind the header"},
		"not HTTP":                {"SSH-2.0-OpenSSH\r\n", "malformed"},
		"half a header":           {"HTTP/1.1 200 OK\r\n", "EOF"},
		"nothing":                 {"", "EOF"},
		"a redirect":              {"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", "302 Found"},
		"an unknown success":      {"HTTP/1.1 299 Sure\x1b[2J\r\n\r\n", ""},
	} {
		ln := listen(t)
		serve(t, ln, func(conn net.Conn) error {
			if _, err := conn.Read(make([]byte, 4096)); err != nil {
				return err
			}
			io.WriteString(conn, c.response)
			conn.(*net.TCPConn).CloseWrite()
			_, err := io.Copy(io.Discard, conn)
			return err
		})
		r := router(t, Config{DataCenters: at("a:1"), Upstreams: upstreams(t, "http://"+ln.Addr().String())})
		upstream, err := r.Dial(short(t), Request{DC: 2, Protocol: frame.Abridged})
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			upstream.Close()
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Config.DialTimeout limits the attempt through an upstream that accepts the
// connection and then sends nothing.
func TestDialTimeoutLimitsASilentProxy(t *testing.T) {
	ln := listen(t)
	serve(t, ln, func(conn net.Conn) error {
		_, err := io.Copy(io.Discard, conn)
		return err
	})
	server := ln.Addr().String()
	_, port, _ := net.SplitHostPort(server)
	for _, text := range []string{
		"socks5://" + server, "http://" + server, "https://" + server,
		"tg://proxy?server=127.0.0.1&port=" + port + "&secret=" + mtwiretest.FakeTLSSecret,
	} {
		r := router(t, Config{DataCenters: at("a:1"), Upstreams: upstreams(t, text), DialTimeout: 50 * time.Millisecond})
		upstream, err := r.Dial(short(t), Request{DC: 2, Protocol: frame.Abridged})
		var timeout net.Error
		if upstream != nil || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: %v", text, err)
		}

		r = router(t, Config{DataCenters: at("a:1"), Upstreams: upstreams(t, text), DialTimeout: time.Hour})
		ctx, cancel := context.WithCancel(short(t))
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err := r.Dial(ctx, Request{DC: 2, Protocol: frame.Abridged}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
