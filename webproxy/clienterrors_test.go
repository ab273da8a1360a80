//go:build !js

package webproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// wrongAnswer is an answer to requests of a path that none of the protocol is.
type wrongAnswer struct {
	carrier Carrier
	path    string
	status  int
	body    string
	headers []string // names and values
	want    string   // in the error
}

func (a *wrongAnswer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	h := w.Header()
	switch {
	case r.URL.Path == "/"+a.path && r.Method != http.MethodDelete:
		for i := 0; i < len(a.headers); i += 2 {
			h.Set(a.headers[i], a.headers[i+1])
		}
		w.WriteHeader(a.status)
		io.WriteString(w, a.body)
	case r.URL.Path == "/":
		fmt.Fprintf(w, "%q", token{1})
	case r.URL.Path == "/"+pathSession:
		h.Set(headerToken, token{2}.String())
		h.Set(headerCarrier, a.carrier.String())
		w.Write(AppendWelcome(nil))
	case r.URL.Path == "/"+pathUp:
		h.Set(headerUpAck, r.Header.Get(headerUp))
		w.WriteHeader(http.StatusNoContent)
	default:
		<-r.Context().Done()
	}
}

// use dials, opens a stream, writes, and reads, up to the first error.
func (a *wrongAnswer) use(t *testing.T) error {
	server := httptest.NewUnstartedServer(a)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	defer server.CloseClientConnections()
	c, err := Dial(t.Context(), Link{Host: testHost, Secret: mustSecret(t, countingHex)}, &DialConfig{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, CloseTimeout: time.Millisecond,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		},
	})
	if err != nil {
		return err
	}
	defer c.Close()
	conn, err := c.Open(t.Context())
	if err != nil {
		return err
	}
	if _, err = conn.Write([]byte("x")); err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	return err
}

// Each answer of a relay may be wrong. The error tells which one, and what is wrong, in one line.
func TestEachAnswerOfARelayMayBeWrong(t *testing.T) {
	welcome, long := string(AppendWelcome(nil)), strings.Repeat("long ", MaxBatchLength/4)
	for _, a := range []wrongAnswer{
		{HTTPS, "", 204, "", nil, "the page has no token"},
		{HTTPS, "", 301, "", []string{"Location", "https://other.example/"}, "page: HTTP status 301"},
		{HTTPS, "", 200, long, nil, "more than 1048576 bytes"},
		{HTTPS, pathSession, 204, "", nil, "a session without a token"},
		{HTTPS, pathSession, 200, welcome, []string{headerToken, "a b"}, "a session without a token"},
		{HTTPS, pathSession, 200, welcome, []string{headerCarrier, strings.Repeat("c", 1000)}, `unknown carrier "cccc`},
		{HTTPS, pathSession, 200, long, nil, "more than 8 bytes"},
		{HTTPS, pathSession, 200, "", []string{headerToken, token{2}.String()}, "empty batch"},
		{HTTPS, pathUp, 200, "", nil, "upload: HTTP status 200"},
		{HTTPS, pathUp, 204, "", nil, "an upload without an acknowledgement"},
		{HTTPSLanes, pathUp, 204, "", []string{headerUpAck, "7"}, "acknowledgement of upload 7, want 1"},
		{HTTPS, pathDown, 502, "", nil, "download: HTTP status 502"},
		{HTTPS, pathDown, 200, welcome, nil, "an answer without a cursor"},
		{HTTPS, pathDown, 200, welcome, []string{headerCursor, "2"}, "answer with cursor 2, want 1"},
		{HTTPS, pathDown, 200, "", []string{headerCursor, "1"}, "empty batch"},
		{HTTPS, pathDown, 200, long, []string{headerCursor, "1"}, "more than 2097152 bytes"},
		{HTTPS, pathDown, 200, welcome, []string{headerCursor, "1"}, "WELCOME, which begins a session"},
		{HTTPS, pathDown, 200, string(batch(open(5))), []string{headerCursor, "1"}, "OPEN, which only this side sends"},
		{HTTPS, pathDown, 200, string(batch(data(5, "x"))), []string{headerCursor, "1"}, "DATA of stream 5, which is not open"},
		{HTTPS, pathDown, 200, string(batch(Frame{ByeFrame, 0, []byte(long[:MaxPayload])})), []string{headerCursor, "1"}, `BYE "long long`},
		{HTTPSLanes, pathDown, 204, "", nil, "an answer without a cursor"},
		{WebSocket, pathSocket, 200, "", nil, "WebSocket: HTTP status 200"},
		{WebSocketLanes, pathSocket, 404, "", nil, "WebSocket: HTTP status 404"},
	} {
		text := fmt.Sprint(a.use(t))
		if !strings.Contains(text, a.want) || len(text) > 300 || strings.Contains(text, "\n") {
			t.Errorf("/%s with status %d: an error of %d bytes, want %q in it: %.300s", a.path, a.status, len(text), a.want, text)
		}
	}
}

// failing is an http.RoundTripper whose connections are cut.
type failing struct{}

func (failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }

// A Dial that its context ends while it repeats a request tells why it has repeated it.
func TestADialThatTakesTooLongTellsWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		c := &Client{header: make(http.Header), http: &http.Client{Transport: failing{}}}
		_, err := c.do(ctx, request{name: "page", method: http.MethodGet, limit: 1})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	})
}

// A program can tell a link that is not a user's from a relay that fails: by ErrNoToken where
// the site has a page, and by the status where it has none.
func TestALinkThatIsNotAUsersIsToldApart(t *testing.T) {
	for _, status := range []int{200, 404} {
		err := (&wrongAnswer{carrier: HTTPS, status: status, body: "a site"}).use(t)
		var answered *StatusError
		if errors.Is(err, ErrNoToken) != (status == 200) || errors.As(err, &answered) != (status == 404) {
			t.Errorf("%d: %v", status, err)
		}
	}
}
