package route

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// The data centre sees the framing and the number that the client sent, and
// answers in the client's own key stream, or by option in another.
func TestDirectLegCarriesBytes(t *testing.T) {
	address, transports := dataCenter(t)
	for _, unrelated := range []bool{false, true} {
		r := router(t, Config{DataCenters: at(address), UnrelatedKeys: unrelated})
		for _, protocol := range []frame.Protocol{frame.Abridged, frame.Intermediate, frame.PaddedIntermediate} {
			download := keyStream()
			leg, err := r.Dial(short(t), -10002, protocol, download)
			if err != nil {
				t.Fatal(err)
			}
			if _, bare := leg.Conn.(*net.TCPConn); !bare || leg.Via != "direct" || leg.Address != address || (leg.Receive != nil) != unrelated {
				t.Errorf("%T to %s, %s, with a key stream of its own: %v", leg.Conn, leg.Address, leg.Via, leg.Receive != nil)
			}
			shared := true // 8..56 is the client's download key stream backwards
			for i, b := range download {
				shared = shared && leg.Init[55-i] == b
			}
			if shared == unrelated {
				t.Errorf("the init payload asks for the client's key stream: %v", shared)
			}
			echo(t, leg, protocol, download)
			if seen := <-transports; seen.DC != -10002 || seen.Protocol != protocol {
				t.Errorf("the data centre saw %v, DC %v", seen, seen.DC)
			}
		}
	}
}

// The default's number goes into the init payload, in place of one that means
// nothing to a data centre.
func TestDefaultDataCenterIsAskedByItsOwnNumber(t *testing.T) {
	address, transports := dataCenter(t)
	r := router(t, Config{Default: 4, DataCenters: map[datacenter.DC][]string{4: {address}}})
	leg, err := r.Dial(short(t), 77, frame.Intermediate, nil)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, leg, frame.Intermediate, nil)
	if seen := <-transports; seen.DC != 4 {
		t.Errorf("the data centre was asked for DC %v", seen.DC)
	}
}

// "SOCKS5 and HTTP CONNECT upstreams": with and without credentials, by
// address and by name, which the proxy looks up.
func TestLegsGoThroughProxies(t *testing.T) {
	address, transports := dataCenter(t)
	_, port, _ := net.SplitHostPort(address)
	server, client, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"socks5", "socks5h", "http", "https"} {
		for _, credentials := range []string{"", "me:pass word"} {
			p := &proxyServer{credentials: credentials, dcTest: address, asked: make(chan string, 10)}
			ln := listen(t)
			place := ln.Addr().String()
			handle := p.socks5
			switch scheme {
			case "https":
				ln, handle = tls.NewListener(ln, server), p.http
			case "http":
				handle = p.http
			}
			serve(t, ln, handle)
			text := scheme + "://" + strings.Replace(credentials, " ", "%20", 1) + "@" + place
			text = strings.Replace(text, "//@", "//", 1)
			for _, target := range []string{"127.0.0.1:" + port, "dc.test:443"} {
				r := router(t, Config{DataCenters: at(target), Upstreams: upstreams(t, text), TLS: client})
				download := keyStream()
				leg, err := r.Dial(short(t), 2, frame.PaddedIntermediate, download)
				if err != nil {
					t.Fatal(err)
				}
				want := strings.TrimSuffix(scheme, "h") + "://" + place
				if _, bare := leg.Conn.(*net.TCPConn); bare == (scheme == "https") || leg.Via != want || leg.Address != target || leg.Receive != nil {
					t.Errorf("%T to %s, %s", leg.Conn, leg.Address, leg.Via)
				}
				echo(t, leg, frame.PaddedIntermediate, download)
				if asked := <-p.asked; asked != target {
					t.Errorf("%s was asked for %s", scheme, asked)
				}
				<-transports
			}
		}
	}
}

// "A dial error names DC, address and via, never credentials."
func TestProxiesRefusalsAreTold(t *testing.T) {
	dead := deadAddress(t)
	server, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	socks, http := listen(t), listen(t)
	secure := listen(t)
	p := &proxyServer{credentials: "me:right", asked: make(chan string, 10)}
	serve(t, socks, p.socks5)
	serve(t, http, p.http)
	serve(t, tls.NewListener(secure, server), p.http)
	for _, c := range []struct {
		scheme, credentials string
		ln                  net.Listener
		want                string
	}{
		{"socks5", "me:wrong@", socks, "username/password authentication failed"},
		{"socks5", "", socks, "no acceptable authentication methods"},
		{"socks5", "me:right@", socks, "connection refused"},
		{"http", "me:wrong@", http, "the HTTP proxy answered 407 Proxy Authentication Required"},
		{"http", "me:right@", http, "the HTTP proxy answered 502 Bad Gateway"},
		{"https", "me:right@", secure, "certificate"},
		{"http", "me:right@", socks, "answer of the HTTP proxy"},
	} {
		place := c.ln.Addr().String()
		r := router(t, Config{DataCenters: at(dead), Upstreams: upstreams(t, c.scheme+"://"+c.credentials+place)})
		_, err := r.Dial(short(t), -4, frame.Abridged, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "DC 4, media: "+dead+" ("+c.scheme+"://"+place+"): ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %q: %v", c.scheme, c.credentials, err)
			continue
		}
		for _, secret := range []string{"me:", "wrong", "right", "\n"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("it says too much: %v", err)
			}
		}
	}
}

// "limit header size (16 KiB) and time", "treat early bytes as an error".
func TestHTTPProxyThatMisbehavesIsLeft(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"a head without end":   {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20<<10), "longer than 16384 bytes"},
		"lines without end":    {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 5000), "longer than 16384 bytes"},
		"bytes behind it":      {"HTTP/1.1 200 OK\r\n\r\nhello", "more than the head"},
		"not HTTP":             {"SSH-2.0-OpenSSH\r\n", "malformed"},
		"half a head":          {"HTTP/1.1 200 OK\r\n", "EOF"},
		"nothing":              {"", "EOF"},
		"a redirect":           {"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", "302 Found"},
		"an unheard-of answer": {"HTTP/1.1 299 Sure\x1b[2J\r\n\r\n", ""},
	} {
		ln := listen(t)
		serve(t, ln, func(conn net.Conn) error {
			if _, err := conn.Read(make([]byte, 4096)); err != nil {
				return err
			}
			io.WriteString(conn, c.answer)
			conn.(*net.TCPConn).CloseWrite()
			_, err := io.Copy(io.Discard, conn)
			return err
		})
		r := router(t, Config{DataCenters: at("a:1"), Upstreams: upstreams(t, "http://"+ln.Addr().String())})
		leg, err := r.Dial(short(t), 2, frame.Abridged, nil)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			leg.Conn.Close()
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An upstream that takes the connection and then says nothing has
// Config.DialTimeout for all of it.
func TestSilentProxyIsGivenUpInTime(t *testing.T) {
	ln := listen(t)
	serve(t, ln, func(conn net.Conn) error {
		_, err := io.Copy(io.Discard, conn)
		return err
	})
	place := ln.Addr().String()
	_, port, _ := net.SplitHostPort(place)
	for _, text := range []string{
		"socks5://" + place, "http://" + place, "https://" + place,
		"tg://proxy?server=127.0.0.1&port=" + port + "&secret=" + mtwiretest.FakeTLSSecret,
	} {
		r := router(t, Config{DataCenters: at("a:1"), Upstreams: upstreams(t, text), DialTimeout: 50 * time.Millisecond})
		leg, err := r.Dial(short(t), 2, frame.Abridged, nil)
		var timeout net.Error
		if leg != nil || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: %v", text, err)
		}

		r = router(t, Config{DataCenters: at("a:1"), Upstreams: upstreams(t, text), DialTimeout: time.Hour})
		ctx, cancel := context.WithCancel(short(t))
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err := r.Dial(ctx, 2, frame.Abridged, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// "chaining to another MTProxy by its link": plain, dd and ee. The next proxy
// is told the number and the framing as they came.
func TestLegsGoByWayOfAnotherProxy(t *testing.T) {
	for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		parsed, err := mtproxy.ParseSecret(secret)
		if err != nil {
			t.Fatal(err)
		}
		address, transports := dataCenter(t, parsed)
		_, port, _ := net.SplitHostPort(address)
		r := router(t, Config{Upstreams: upstreams(t, "tg://proxy?server=127.0.0.1&port="+port+"&secret="+secret)})
		for _, protocol := range []frame.Protocol{frame.Abridged, frame.PaddedIntermediate} {
			for _, dc := range []datacenter.DC{-4, 10002, 203} {
				leg, err := r.Dial(short(t), dc, protocol, keyStream())
				if err != nil {
					t.Fatal(err)
				}
				if _, bare := leg.Conn.(*net.TCPConn); !bare || leg.Receive == nil || leg.Address != address || strings.Contains(leg.Via, mtwiretest.PlainSecret) {
					t.Errorf("%T to %s, %s", leg.Conn, leg.Address, leg.Via)
				}
				echo(t, leg, protocol, nil)
				seen := <-transports
				if seen.DC != dc || seen.Protocol != protocol || seen.Secret != 0 || seen.FakeTLS != (parsed.Mode == mtproxy.FakeTLS) {
					t.Errorf("the next proxy saw %v, DC %v", seen, seen.DC)
				}
			}
		}
	}
}

// A wrong secret shows with ee, and the next way is taken. The secret does not
// show in the error.
func TestNextProxyWithAnotherSecretIsLeft(t *testing.T) {
	ln := listen(t)
	serve(t, ln, func(conn net.Conn) error {
		config := &mtwire.ListenConfig{
			Secrets: []mtwire.Secret{{Key: [16]byte{1}}},
			Unknown: func(context.Context, net.Conn, error) {}, // hangs up
		}
		return mtwire.Server(conn, config).Handshake(context.Background())
	})
	address, transports := dataCenter(t)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	link := "tg://proxy?server=127.0.0.1&port=" + port + "&secret=" + mtwiretest.FakeTLSSecret
	r := router(t, Config{DataCenters: at(address), Upstreams: upstreams(t, link)})
	_, err := r.Dial(short(t), 2, frame.Abridged, nil)
	if err == nil || strings.Contains(err.Error(), mtwiretest.PlainSecret) || !strings.Contains(err.Error(), "(mtproxy "+ln.Addr().String()+" faketls:[redacted]:example.com)") {
		t.Errorf("%v", err)
	}
	r = router(t, Config{DataCenters: at(address), Upstreams: upstreams(t, link, "direct")})
	leg, err := r.Dial(short(t), 2, frame.Abridged, nil)
	if err != nil || leg.Via != "direct" {
		t.Fatalf("%v, %v", leg, err)
	}
	echo(t, leg, frame.Abridged, nil)
	<-transports
}

// "Real loopback servers: fail-over", and "no goroutine left behind".
func TestFailOverLeavesNothingBehind(t *testing.T) {
	address, transports := dataCenter(t)
	dead := deadAddress(t)
	ln := listen(t)
	serve(t, ln, func(net.Conn) error { return nil }) // hangs up
	once := func(config Config) {
		download := keyStream()
		leg, err := router(t, config).Dial(short(t), 2, frame.Intermediate, download)
		if err != nil {
			t.Fatal(err)
		}
		if leg.Via != "direct" || leg.Address != address {
			t.Errorf("%s by %s", leg.Address, leg.Via)
		}
		echo(t, leg, frame.Intermediate, download)
		<-transports
	}
	const rounds = 20
	before := runtime.NumGoroutine()
	for range rounds {
		once(Config{DataCenters: at(dead, address)})
		once(Config{DataCenters: at(dead, address), Upstreams: upstreams(t, "socks5://"+dead, "direct")})
		once(Config{DataCenters: at(address), Upstreams: upstreams(t, "socks5://"+dead, "http://"+ln.Addr().String(), "direct")})
	}
	after := 0
	for range 500 { // servers take a moment to notice the ends of their connections
		if after = runtime.NumGoroutine(); after < before+rounds {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, after)
}
