package admin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const testToken = "0123456789abcdef"

// testServer is a server on TCP and on a Unix socket.
type testServer struct {
	*Server
	tcp, unix string
}

func start(t *testing.T, config Config) *testServer {
	t.Helper()
	if config.Metrics == nil {
		config.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metrics") })
	}
	if config.Ready == nil {
		config.Ready = func() error { return nil }
	}
	config.Token = func() string { return testToken }
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	s := &testServer{Server: New(config), unix: filepath.Join(t.TempDir(), "a.sock")}
	var serving sync.WaitGroup
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": s.unix} {
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if network == "tcp" {
			s.tcp = ln.Addr().String()
		}
		serving.Go(func() {
			if err := s.Serve(ln); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		s.Close()
		serving.Wait()
	})
	return s
}

// do sends a request to a network, and returns the answer and its body.
func (s *testServer) do(t *testing.T, network string, r *http.Request) (*http.Response, string) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		address := s.tcp
		if network == "unix" {
			address = s.unix
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	defer transport.CloseIdleConnections()
	r.RequestURI, r.URL.Scheme, r.URL.Host = "", "http", "127.0.0.1"
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

// Over TCP a request needs the token, an address as its host, and no page of another
// origin behind it. Over a Unix socket it needs the latter alone. What is refused is a
// problem document.
func TestRequestsAreGuarded(t *testing.T) {
	s := start(t, Config{})
	for name, test := range map[string]struct {
		host      string
		header    map[string]string
		tcp, unix int
	}{
		"token":              {"127.0.0.1:9100", map[string]string{"Authorization": "Bearer " + testToken}, 200, 200},
		"lower case":         {"127.0.0.1:9100", map[string]string{"Authorization": "bearer " + testToken}, 200, 200},
		"IPv6":               {"[::1]:9100", map[string]string{"Authorization": "Bearer " + testToken}, 200, 200},
		"localhost":          {"localhost", map[string]string{"Authorization": "Bearer " + testToken}, 200, 200},
		"own origin":         {"127.0.0.1:9100", map[string]string{"Authorization": "Bearer " + testToken, "Origin": "http://127.0.0.1:9100"}, 200, 200},
		"none":               {"127.0.0.1", nil, 401, 200},
		"another":            {"127.0.0.1", map[string]string{"Authorization": "Bearer " + testToken + "0"}, 401, 200},
		"a part":             {"127.0.0.1", map[string]string{"Authorization": "Bearer " + testToken[:15]}, 401, 200},
		"basic":              {"127.0.0.1", map[string]string{"Authorization": "Basic " + testToken}, 401, 200},
		"empty":              {"127.0.0.1", map[string]string{"Authorization": "Bearer "}, 401, 200},
		"rebinding":          {"attacker.example", map[string]string{"Authorization": "Bearer " + testToken}, 421, 200},
		"rebinding, port":    {"attacker.example:9100", nil, 421, 200},
		"an address in name": {"127.0.0.1.attacker.example", nil, 421, 200},
		"foreign origin":     {"127.0.0.1", map[string]string{"Authorization": "Bearer " + testToken, "Origin": "http://attacker.example"}, 403, 403},
		"null origin":        {"127.0.0.1", map[string]string{"Origin": "null"}, 403, 403},
		"cross-site":         {"127.0.0.1", map[string]string{"Authorization": "Bearer " + testToken, "Sec-Fetch-Site": "cross-site"}, 403, 403},
	} {
		for network, want := range map[string]int{"tcp": test.tcp, "unix": test.unix} {
			r := httptest.NewRequest("GET", "/metrics", nil)
			r.Host = test.host
			for key, value := range test.header {
				r.Header.Set(key, value)
			}
			answer, body := s.do(t, network, r)
			if answer.StatusCode != want || want == 200 && body != "metrics" {
				t.Errorf("%s, %s: %d %s, want %d", name, network, answer.StatusCode, body, want)
			}
			if want != 200 {
				checkProblem(t, answer, body)
			}
			if challenge := answer.Header.Get("WWW-Authenticate"); (challenge != "") != (want == 401) {
				t.Errorf("%s, %s: %q", name, network, challenge)
			}
		}
	}
}

// checkProblem checks that an answer is a problem document with its status.
func checkProblem(t *testing.T, answer *http.Response, body string) {
	t.Helper()
	var p problemDocument
	if err := json.Unmarshal([]byte(body), &p); err != nil || p.Status != answer.StatusCode || p.Title == "" || p.Detail == "" ||
		answer.Header.Get("Content-Type") != problemType {
		t.Errorf("%d %q: %s", answer.StatusCode, answer.Header.Get("Content-Type"), body)
	}
}

// Without a token in the configuration, no request over TCP is answered.
func TestNoTokenIsNoPassword(t *testing.T) {
	g := guard{token: func() string { return "" }, tcp: true, next: http.NotFoundHandler()}
	for _, authorization := range []string{"", "Bearer", "Bearer "} {
		r := httptest.NewRequest("GET", "http://127.0.0.1/", nil)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		if g.ServeHTTP(w, r); w.Code != 401 {
			t.Errorf("%q: %d", authorization, w.Code)
		}
	}
}

// Paths that do not exist, methods that are not allowed, and requests that are too
// large are refused, the former as problem documents.
func TestOtherRequestsAreRefused(t *testing.T) {
	s := start(t, Config{})
	answer, body := s.do(t, "unix", httptest.NewRequest("GET", "/nothing", nil))
	checkProblem(t, answer, body)
	if answer.StatusCode != 404 {
		t.Error(answer.Status)
	}
	answer, body = s.do(t, "unix", httptest.NewRequest("POST", "/healthz", nil))
	checkProblem(t, answer, body)
	if answer.StatusCode != 405 || !strings.Contains(answer.Header.Get("Allow"), "GET") {
		t.Error(answer.Status, answer.Header)
	}
	conn, err := net.Dial("tcp", s.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: "+strings.Repeat("x", 64<<10)) // an error if it is refused early
	status := make([]byte, len("HTTP/1.1 431"))
	if _, err := io.ReadFull(conn, status); err == nil && string(status) != "HTTP/1.1 431" {
		t.Errorf("%s", status)
	}
}

// Health and readiness are texts.
func TestHealthAndReadiness(t *testing.T) {
	var reason error
	s := start(t, Config{Ready: func() error { return reason }})
	if answer, body := s.do(t, "unix", httptest.NewRequest("GET", "/healthz", nil)); answer.StatusCode != 200 || body != "ok\n" {
		t.Error(answer.Status, body)
	}
	if answer, body := s.do(t, "unix", httptest.NewRequest("HEAD", "/readyz", nil)); answer.StatusCode != 200 || body != "" {
		t.Error(answer.Status, body)
	}
	reason = errNotAccepting
	if answer, body := s.do(t, "unix", httptest.NewRequest("GET", "/readyz", nil)); answer.StatusCode != 503 || body != "not ready: "+errNotAccepting.Error()+"\n" {
		t.Error(answer.Status, body)
	}
}

// A client that opens more connections than the limit gets no more, and others are
// answered meanwhile.
func TestConnectionsAreLimited(t *testing.T) {
	s := start(t, Config{})
	var open []net.Conn
	for range maxPending + 10 {
		conn, err := net.Dial("unix", s.unix)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	for _, conn := range open[:10] {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("an old connection is open")
		}
	}
	if answer, _ := s.do(t, "unix", httptest.NewRequest("GET", "/healthz", nil)); answer.StatusCode != 200 {
		t.Error("beside idle connections: ", answer.Status)
	}
	if answer, _ := s.do(t, "tcp", httptest.NewRequest("GET", "http://127.0.0.1/healthz", nil)); answer.StatusCode != 401 {
		t.Error("the other listener: ", answer.Status)
	}
	for _, conn := range open {
		conn.Close()
	}
	if answer, _ := s.do(t, "unix", httptest.NewRequest("GET", "/healthz", nil)); answer.StatusCode != 200 {
		t.Error(answer.Status)
	}
}
