//go:build !js

package wsconn

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// Server accepts no upgrade request that an http.Server refuses, except for one
// without Host, and none that two parsers may read differently. An http.Server has
// Accept behind it, without Accept's own check for a body.
func TestServerRefusesWhatNetHTTPRefuses(t *testing.T) {
	with := func(lines string) string {
		return strings.Replace(upgradeRequest, "Host: dc.example\r\n", "Host: dc.example\r\n"+lines, 1)
	}
	edit := func(old, new string) string { return strings.Replace(upgradeRequest, old, new, 1) }
	for name, c := range map[string]struct {
		request      string
		ours, theirs bool // accepted
	}{
		"plain":                             {upgradeRequest, true, true},
		"empty Host":                        {edit("dc.example", ""), true, true},
		"no Host":                           {edit("Host: dc.example\r\n", ""), true, false},
		"two Hosts":                         {with("Host: dc.example\r\n"), false, false},
		"bad Host":                          {edit("dc.example", "dc/example"), false, false},
		"bad Host beside a URL":             {strings.Replace(edit("dc.example", "dc example"), "/apiws", "http://dc.example/apiws", 1), false, false},
		"no body":                           {with("Content-Length: 0\r\n"), true, true},
		"a body":                            {with("Content-Length: 4\r\n") + "body", false, true},
		"a chunked body":                    {with("Transfer-Encoding: chunked\r\n") + "4\r\nbody\r\n0\r\n\r\n", false, true},
		"length and chunked":                {with("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", false, true},
		"two lengths":                       {with("Content-Length: 0\r\nContent-Length: 4\r\n"), false, false},
		"length with a sign":                {with("Content-Length: +0\r\n"), false, false},
		"another encoding":                  {with("Transfer-Encoding: gzip\r\n"), false, false},
		"space after Transfer-Encoding":     {with("Transfer-Encoding : chunked\r\n"), false, false},
		"space after Upgrade":               {with("Upgrade : h2c\r\n"), false, false},
		"no name":                           {with(": a\r\n"), false, false},
		"no colon":                          {with("a\r\n"), false, false},
		"NUL in a value":                    {with("A: b\x00\r\n"), false, false},
		"CR in a value":                     {with("A: b\rC: d\r\n"), false, false},
		"bare LF":                           {strings.ReplaceAll(upgradeRequest, "\r\n", "\n"), false, true},
		"bare LF after the head":            {strings.TrimSuffix(upgradeRequest, "\r\n") + "\n", false, true},
		"folded line":                       {with("A: b\r\n c\r\n"), false, true},
		"folded Upgrade":                    {edit("Upgrade: websocket", "Upgrade:\r\n websocket"), false, true},
		"HTTP/2.0":                          {edit("HTTP/1.1", "HTTP/2.0"), false, false},
		"HTTP/1.0":                          {edit("HTTP/1.1", "HTTP/1.0"), false, false},
		"small letters":                     {edit("HTTP/1.1", "http/1.1"), false, false},
		"two spaces":                        {edit("GET ", "GET  "), false, false},
		"space after the version":           {edit("HTTP/1.1", "HTTP/1.1 "), false, false},
		"control character in the path":     {edit("/apiws", "/api\x01ws"), false, false},
		"relative path":                     {edit("/apiws", "apiws"), false, false},
		"an empty line before the request":  {"\r\n" + upgradeRequest, false, false},
		"an upgrade to HTTP/2, beside that": {with("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), true, true},
	} {
		if ours := upgraded(t, c.request, serveOurs); ours != c.ours {
			t.Errorf("%s: accepted: %v", name, ours)
		}
		if theirs := upgraded(t, c.request, serveHTTP); theirs != c.theirs {
			t.Errorf("%s: accepted by net/http: %v", name, theirs)
		}
	}
}

// upgraded reports whether the server on the other end of a connection upgrades it
// for request.
func upgraded(t *testing.T, request string, serve func(t *testing.T, conn net.Conn)) bool {
	client, conn := tcpPair(t)
	client.SetDeadline(time.Now().Add(30 * time.Second))
	serve(t, conn)
	io.WriteString(client, request)
	if err := netx.CloseWrite(client); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(client)
	status, _, _ := strings.Cut(string(answer), "\r\n")
	if !strings.HasPrefix(status, "HTTP/1.") {
		t.Errorf("%q is answered by %q", request, answer)
	}
	return strings.Contains(status, " 101 ")
}

func serveOurs(t *testing.T, conn net.Conn) {
	go func() {
		if c, err := Server(t.Context(), conn, nil); err == nil {
			c.Close()
		}
	}()
}

func serveHTTP(t *testing.T, conn net.Conn) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ContentLength = 0
		if c, err := Accept(w, r, nil); err == nil {
			c.Close()
		}
	})}
	conns := make(chan net.Conn, 1)
	conns <- conn
	go server.Serve(&listener{conns: conns})
	t.Cleanup(func() { server.Close() })
}

// listener accepts the connections of a channel.
type listener struct {
	net.Listener
	conns chan net.Conn
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	default:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }
