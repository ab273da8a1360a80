package mtwire_test

import (
	"context"
	"errors"
	"log"
	"net"
	"strings"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
)

// startProxy serves a SOCKS5 or HTTP proxy until the test ends, and returns its URL.
func startProxy(t testing.TB, scheme string, p *loopback.Proxy) string {
	t.Helper()
	url, stop := serveProxy(scheme, p)
	t.Cleanup(stop)
	return url
}

func serveProxy(scheme string, p *loopback.Proxy) (url string, stop func()) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	handle := p.HTTP
	if scheme == "socks5" {
		handle = p.SOCKS5
	}
	stop = loopback.Serve(ln, func(conn net.Conn) { handle(conn) })
	credentials := ""
	if p.Credentials != "" {
		credentials = p.Credentials + "@"
	}
	return scheme + "://" + credentials + ln.Addr().String(), stop
}

// Every carrier goes through the proxy, which gets the host name as it is.
func TestProxyDialerServesEveryCarrier(t *testing.T) {
	address := startEcho(t, nil).String()
	for _, scheme := range []string{"socks5", "http"} {
		for _, url := range []string{"tcp://dc.test:443", "ws://dc.test:443/apiws", "http://dc.test:443/api"} {
			p := &loopback.Proxy{
				Credentials: "me:pw", Hosts: map[string]string{"dc.test:443": address}, Requested: make(chan string, 1),
			}
			dial, err := mtwire.ProxyDialer(startProxy(t, scheme, p), nil)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := mtwire.Dial(short(t), url, &mtwire.DialConfig{DialContext: dial})
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Send(short(t), encrypted(3)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Receive(short(t)); err != nil {
				t.Errorf("%s through %s: %v", url, scheme, err)
			}
			if got := <-p.Requested; got != "dc.test:443" {
				t.Errorf("%s: the proxy was asked for %s", scheme, got)
			}
			conn.Close()
		}
	}
}

// A refusal is an error with the proxy's address, and without the credentials; so is a
// URL that names no proxy.
func TestProxyErrorsDoNotQuoteCredentials(t *testing.T) {
	for _, scheme := range []string{"socks5", "http"} {
		url := startProxy(t, scheme, &loopback.Proxy{Credentials: "me:right"})
		dial, err := mtwire.ProxyDialer(strings.Replace(url, "right", "hunter2", 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = dial(short(t), "tcp", "dc.test:443")
		if _, address, _ := strings.Cut(url, "@"); err == nil || !strings.Contains(err.Error(), address) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", scheme, err)
		}
		if _, err := dial(short(t), "udp", "dc.test:443"); err == nil {
			t.Errorf("%s: UDP was dialled", scheme)
		}
	}
	for _, url := range []string{"", "hunter2", "ftp://me:hunter2@proxy:1", "socks5://me:hunter2@proxy", "http://me:hunter2@proxy:1/x", "http://me:hunter2@proxy:1?x", "socks5://:hunter2@proxy:1"} {
		if _, err := mtwire.ProxyDialer(url, nil); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// dialled returns the addresses that a dialer of the environment connects to for
// address: the proxy's, or address itself.
func dialled(t *testing.T, address string) string {
	t.Helper()
	stop := errors.New("no network in this test")
	got := ""
	dial, err := mtwire.EnvironmentDialer(&mtwire.ProxyConfig{
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) { got = address; return nil, stop },
	})
	if err != nil {
		return err.Error()
	}
	if _, err := dial(t.Context(), "tcp", address); !errors.Is(err, stop) {
		t.Errorf("%s: %v", address, err)
	}
	return got
}

func TestEnvironmentDialerFollowsTheVariables(t *testing.T) {
	const dc, name = "149.154.167.51:443", "venus.web.telegram.org:443"
	for _, test := range []struct{ https, all, lower, no, address, want string }{
		{address: dc, want: dc},
		{https: "http://proxy.example:3128", address: dc, want: "proxy.example:3128"},
		{https: "proxy.example", address: dc, want: "proxy.example:80"},
		{https: "https://proxy.example", address: dc, want: "proxy.example:443"},
		{all: "socks5h://me:pw@[2001:db8::1]", address: dc, want: "[2001:db8::1]:1080"},
		{https: "http://a.example:1", all: "socks5://b.example:2", address: dc, want: "a.example:1"},
		{lower: "socks5://proxy.example:9050", address: name, want: "proxy.example:9050"},
		{all: "proxy.example:1", address: "127.0.0.1:443", want: "127.0.0.1:443"},
		{all: "proxy.example:1", address: "localhost:443", want: "localhost:443"},
		{all: "proxy.example:1", address: "[::1]:443", want: "[::1]:443"},
		{all: "proxy.example:1", no: "*", address: dc, want: dc},
		{all: "proxy.example:1", no: "a.b, telegram.org", address: name, want: name},
		{all: "proxy.example:1", no: ".telegram.org", address: name, want: name},
		{all: "proxy.example:1", no: "*.telegram.org", address: name, want: name},
		{all: "proxy.example:1", no: "gram.org", address: name, want: "proxy.example:1"},
		{all: "proxy.example:1", no: "149.154.160.0/20", address: dc, want: dc},
		{all: "proxy.example:1", no: "149.154.167.51", address: dc, want: dc},
		{all: "proxy.example:1", no: "149.154.167.52,,", address: dc, want: "proxy.example:1"},
		{all: "ftp://me:pw@proxy.example:1", address: dc, want: "bad proxy: ALL_PROXY: want socks5://HOST:PORT, http://HOST:PORT or https://HOST:PORT"},
	} {
		for name, value := range map[string]string{
			"HTTPS_PROXY": test.https, "ALL_PROXY": test.all, "all_proxy": test.lower, "NO_PROXY": test.no,
			"https_proxy": "", "no_proxy": "",
		} {
			t.Setenv(name, value)
		}
		if got := dialled(t, test.address); got != test.want {
			t.Errorf("%+v: dialled %s", test, got)
		}
	}
}
