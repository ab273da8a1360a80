package web

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/mtwire/mtwire/internal/proxyprotocol"
)

// The last address of X-Forwarded-For is the client's if the peer is trusted to tell it,
// and otherwise the peer is the client.
func TestOnlyATrustedPeerTellsTheClientsAddress(t *testing.T) {
	var got string
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("X-Forwarded-For") }))
	defer backend.Close()
	for _, trusted := range []bool{false, true} {
		config := Config{Host: "proxy.example.com", Site: newSite(t, backend.URL), Log: discardLog}
		if trusted {
			config.ForwardedFrom.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		} else {
			config.ForwardedFrom = proxyprotocol.Trust{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Unix: true}
		}
		server, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go server.ServePlain(ln)
		for _, test := range []struct {
			headers []string
			want    string
		}{
			{nil, "127.0.0.1"},
			{[]string{"203.0.113.7"}, "203.0.113.7"},
			{[]string{"10.0.0.1, 203.0.113.7"}, "203.0.113.7"},
			{[]string{"10.0.0.1", "2001:db8::1"}, "2001:db8::1"},
			{[]string{"203.0.113.7, unknown"}, "127.0.0.1"},
		} {
			request, err := http.NewRequest("GET", "http://"+ln.Addr().String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header["X-Forwarded-For"] = test.headers
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if !trusted {
				test.want = "127.0.0.1"
			}
			if got != test.want {
				t.Errorf("trusted %v, %v: %s, want %s", trusted, test.headers, got, test.want)
			}
		}
	}
}
