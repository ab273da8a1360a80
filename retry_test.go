package mtwire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/wsconn"
)

// answering returns the address of a server that reads once, sends text and closes.
func answering(t *testing.T, text string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(loopback.Serve(ln, func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, text)
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn)
	}))
	return ln.Addr().String()
}

// Errors that really occur: of a Dial, a Send and a Receive.
func TestRetryableErrorsOfConnections(t *testing.T) {
	const refused = "127.0.0.1:1" // a port that no server of the test gets
	serverTLS, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	status := func(code int) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		t.Cleanup(srv.Close)
		return srv.Listener.Addr().String()
	}
	through := func(scheme, credentials string) *mtwire.DialConfig {
		url := startProxy(t, scheme, &loopback.Proxy{Credentials: "me:right"})
		dial, err := mtwire.ProxyDialer(strings.Replace(url, "me:right", credentials, 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		return &mtwire.DialConfig{DialContext: dial}
	}
	echo, secure := startEcho(t, nil).String(), startEcho(t, &mtwire.ListenConfig{TLS: serverTLS}).String()
	for _, test := range []struct {
		what, url string
		config    *mtwire.DialConfig
		want      bool
	}{
		{"refused", "tcp://" + refused, nil, true},
		{"refused", "https://" + refused, nil, true},
		{"the end", "tcp://" + answering(t, ""), nil, true},
		{"the end", "ws://" + answering(t, ""), nil, true},
		{"no hello", "tcp://" + answering(t, "") + "?secret=" + mtwiretest.FakeTLSSecret, nil, true},
		{"unanswered", "tcp://dc.example:1", &mtwire.DialConfig{DialContext: unreachable, DialTimeout: 1}, true},
		{"unanswered", "http://dc.example:1", &mtwire.DialConfig{DialContext: unreachable, DialTimeout: 1}, true},
		{"busy", "ws://" + status(503), nil, true},
		{"busy", "http://" + status(502), nil, true},
		{"flood", "http://" + status(429), nil, true},
		{"behind a proxy", "tcp://" + refused, through("http", "me:right"), true},
		{"behind a proxy", "tcp://" + refused, through("socks5", "me:right"), true},

		{"not there", "ws://" + status(404), nil, false},
		{"a redirect", "ws://" + status(302), nil, false},
		{"no auth key", "http://" + status(404), nil, false},
		{"a web page", "http://" + answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>"), nil, false},
		{"not TLS", "tcp://" + answering(t, "HTTP/1.1 400 Bad Request\r\n\r\n") + "?secret=" + mtwiretest.FakeTLSSecret, nil, false},
		{"not MTProto", "tcp://" + answering(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), nil, false},
		{"a certificate", "wss://" + secure, nil, false},
		{"a certificate", "https://" + secure, nil, false},
		{"a wrong password", "tcp://" + echo, through("http", "me:wrong"), false},
		{"a wrong password", "tcp://" + echo, through("socks5", "me:wrong"), false},
		{"an endpoint", "tcp://nowhere", nil, false},
	} {
		err := dialAndReceive(short(t), test.url, test.config)
		if err == nil || mtwire.Retryable(err) != test.want {
			t.Errorf("%s, %s: Retryable is %v for %v", test.what, test.url, !test.want, err)
		}
	}
}

// The same for errors that are hard to provoke, and wrapped ones.
func TestRetryableErrors(t *testing.T) {
	for err, want := range map[error]bool{
		&mtwire.TransportError{Code: 429}:              true,
		&mtwire.TransportError{Code: 404}:              false,
		&mtwire.TransportError{Code: 444}:              false,
		&mtwire.TransportError{Code: 403}:              false,
		&wsconn.CloseError{Status: 1012}:               true,
		&wsconn.CloseError{Status: 1008}:               false,
		wsconn.ErrPingTimeout:                          true,
		wsconn.ErrSubprotocol:                          false,
		io.EOF:                                         true,
		&httpconn.PostError{Err: io.ErrUnexpectedEOF}:  true,
		os.ErrDeadlineExceeded:                         true,
		context.DeadlineExceeded:                       false,
		context.Canceled:                               false,
		net.ErrClosed:                                  false,
		mtwire.ErrShutdown:                             false,
		mtwire.ErrUnknownDC:                            false,
		mtwire.ErrConcurrentReceive:                    false,
		httpconn.ErrLength:                             false,
		syscall.ECONNRESET:                             true,
		syscall.EPIPE:                                  true,
		syscall.ETIMEDOUT:                              true,
		&net.DNSError{Err: "x", IsTemporary: true}:     true,
		&net.DNSError{Err: "x", IsNotFound: true}:      false,
		&net.AddrError{Err: "x"}:                       false,
		&net.OpError{Op: "dial", Err: errors.New("x")}: true,
		net.UnknownNetworkError("sctp"):                false,
		errors.New("another"):                          false,
	} {
		if wrapped := fmt.Errorf("receive: %w", err); mtwire.Retryable(wrapped) != want {
			t.Errorf("%T %v: want %v", err, err, want)
		}
	}
	if mtwire.Retryable(nil) {
		t.Error("no error is retryable")
	}
}
