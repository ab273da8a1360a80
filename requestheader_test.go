package mtwire_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire"
)

// requestHead returns the lines of the first request head that a dialled endpoint
// sends, and the address that it dials.
func requestHead(t *testing.T, endpoint string, header http.Header) (lines []string, address string) {
	t.Helper()
	server, client := tcpPair(t)
	dialled := make(chan string, 1)
	config := &mtwire.DialConfig{Header: header, DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		dialled <- address
		return client, nil
	}}
	ctx, cancel := context.WithCancel(short(t))
	defer cancel()
	go func() {
		conn, err := mtwire.Dial(ctx, endpoint, config)
		if err == nil { // HTTP
			defer conn.Close()
			conn.Send(ctx, make([]byte, 40))
			conn.Receive(ctx)
		}
	}()
	for scanner := bufio.NewScanner(server); scanner.Scan() && scanner.Text() != ""; {
		lines = append(lines, scanner.Text())
	}
	return lines, <-dialled
}

// The request's Host has no default port, as a browser's: a port there is a mark of
// few programs. Go's User-Agent is another one.
func TestRequestsAreLikeABrowsers(t *testing.T) {
	for _, scheme := range []string{"ws", "http"} {
		for host, want := range map[string]string{
			"dc.example": "dc.example", "dc.example:80": "dc.example", "dc.example:8080": "dc.example:8080",
			"[2001:db8::1]": "[2001:db8::1]", "[2001:db8::1]:80": "[2001:db8::1]",
		} {
			lines, address := requestHead(t, scheme+"://"+host, nil)
			if !slices.Contains(lines, "Host: "+want) || slices.ContainsFunc(lines, func(line string) bool {
				return strings.HasPrefix(line, "User-Agent") || strings.HasPrefix(line, "Sec-Websocket")
			}) {
				t.Errorf("%s://%s: want Host %s, and no User-Agent, in\n%s", scheme, host, want, strings.Join(lines, "\n"))
			}
			if _, _, err := net.SplitHostPort(address); err != nil {
				t.Errorf("%s://%s: dialled %s", scheme, host, address)
			}
		}
	}
}

// Host in the header is the request's, as for a server behind another's name, and the
// address that is dialled stays that of the endpoint.
func TestHostAndUserAgentAreTheCallers(t *testing.T) {
	for _, scheme := range []string{"ws", "http"} {
		header := http.Header{"Host": {"inside.example"}, "User-Agent": {"Mozilla/5.0"}}
		lines, address := requestHead(t, scheme+"://edge.example", header)
		if !slices.Contains(lines, "Host: inside.example") || !slices.Contains(lines, "User-Agent: Mozilla/5.0") {
			t.Errorf("%s: %s", scheme, strings.Join(lines, "\n"))
		}
		if address != "edge.example:80" || header.Get("Host") == "" {
			t.Errorf("%s: dialled %s; the caller's header is %v", scheme, address, header)
		}
	}
}
