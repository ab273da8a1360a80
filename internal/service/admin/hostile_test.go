package admin

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
)

// send sends bytes to the server on TCP and returns the answers until it closes the
// connection, or is silent because it waits for a request.
func (s *testServer) send(t *testing.T, text string) (answers []*http.Response, bodies []string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		return nil, nil // it was refused before its end
	}
	conn.(*net.TCPConn).CloseWrite()
	in := bufio.NewReader(conn)
	for {
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return answers, bodies
		}
		body, _ := io.ReadAll(answer.Body)
		answers, bodies = append(answers, answer), append(bodies, string(body))
	}
}

// No spelling of a host brings a page of another origin to the server: names, also in
// absolute requests, in several headers or behind an address.
func TestHostsOfPagesAreRefused(t *testing.T) {
	s := start(t, Config{})
	for _, head := range []string{
		"GET /metrics HTTP/1.1\r\nHost: attacker.example",
		"GET http://attacker.example/metrics HTTP/1.1\r\nHost: 127.0.0.1",
		"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: attacker.example",
		"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.attacker.example",
		"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1@attacker.example",
		"GET /metrics HTTP/1.1\r\nHost: localhost.attacker.example",
		"GET /metrics HTTP/1.1\r\nHost: attacker.example:127.0.0.1",
		"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1 attacker.example",
		"GET /metrics HTTP/1.1",
		"GET /metrics HTTP/1.0",
		"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1:8080",
		"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nOrigin: http://attacker.example",
		"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: ",
		"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-Fetch-Site: same-site",
		"PRI * HTTP/2.0\r\n\r\nSM",
		"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80",
		"TRACE /metrics HTTP/1.1\r\nHost: 127.0.0.1",
	} {
		answers, bodies := s.send(t, head+"\r\n"+tokenLine+"\r\n")
		if len(answers) != 1 || answers[0].StatusCode < 400 || strings.Contains(bodies[0], "metrics\n") {
			t.Errorf("%q: %d answers, %q", head, len(answers), bodies)
		}
	}
}

// What follows a request whose length is ambiguous is no other request.
func TestAmbiguousRequestsEndTheConnection(t *testing.T) {
	s := start(t, Config{})
	const head = "POST /v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\n" + tokenLine
	const hidden = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n" + tokenLine + "\r\n"
	s.config.Reload = func(func() error) (bool, error) { return false, nil }
	s.config.Configuration = func() Configuration { return Configuration{} }
	for name, lengths := range map[string]string{
		"both lengths":         "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":          "Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
		"a list of lengths":    "Content-Length: 0, 5\r\n\r\n",
		"a sign":               "Content-Length: +0\r\n\r\n",
		"an unknown encoding":  "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"two encodings":        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"space before a colon": "Content-Length : 0\r\n\r\n",
		"a folded line":        "X: 1\r\n Content-Length: 5\r\nContent-Length : 5\r\n\r\n",
	} {
		answers, bodies := s.send(t, head+lengths+hidden)
		if len(answers) != 1 || strings.Contains(bodies[0], "metrics") {
			t.Errorf("%s: %d answers, %q", name, len(answers), bodies)
		}
	}
	if answers, _ := s.send(t, head+"Content-Length: 0\r\n\r\n"+hidden); len(answers) != 2 {
		t.Error("requests without ambiguity: ", len(answers), "answers")
	}
}

// Bodies have one object, each key once in its own spelling, and nothing behind it.
func TestBodiesAreStrict(t *testing.T) {
	for body, ok := range map[string]bool{
		`{"name": "bob", "note": "x"}`:        true,
		` {"name": "bob"} ` + "\n":            true,
		`{"name": "bob", "name": "eve"}`:      false,
		`{"name": "bob", "Quota": 5}`:         false,
		`{"name": "bob", "\u017fecrets": []}`: false, // package json folds it to an s
		`{"name": "bob"}]`:                    false,
		`{"name": "bob"}}`:                    false,
		`{"name": "bob"}{"name": "eve"}`:      false,
		`{"name": "bob"} x`:                   false,
		`null`:                                false,
		`[]`:                                  false,
		`"bob"`:                               false,
		``:                                    false,
		`{"name": "bob"`:                      false,
		`{"name": "bob",}`:                    false,
		`{"name": {"name": "bob"}}`:           false,
		strings.Repeat("[", 20000):            false,
		`{"note":` + strings.Repeat(`{"a":`, 20000):      false,
		`{"name": "bob", "quota": 1e30}`:                 false,
		`{"name": "bob", "quota": 99999999999999999999}`: false,
	} {
		d := newUserDocument()
		if err := unmarshal([]byte(body), &d); (err == nil) != ok {
			t.Errorf("%.60q: %v", body, err)
		}
	}
}

// Each time that is accepted can be answered, and so can the list of users that has one in
// the configuration.
func TestTimesCanBeAnswered(t *testing.T) {
	for text, ok := range map[string]bool{
		"2030-01-01T00:00:00Z": true, "9998-12-31T23:59:59-14:00": false, "9999-12-31T23:59:59-14:00": false, "0000-01-01T00:00:00+14:00": false,
		"9998-12-31T00:00:00+14:00": true,
	} {
		d := newUserDocument()
		if err := unmarshal(fmt.Appendf(nil, `{"name": "bob", "expires": %q}`, text), &d); err != nil {
			t.Fatal(err)
		}
		u, err := d.user()
		if (err == nil) != ok || err != nil && !strings.HasPrefix(err.Error(), "expires: ") {
			t.Errorf("%s: %v", text, err)
		}
		if err == nil {
			if _, err := etagOfUser(&u); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}

// A body that is longer than the limit is refused, in whatever way it tells its length.
func TestHugeBodiesAreRefused(t *testing.T) {
	s := start(t, Config{UpdateUsers: func(func([]users.User) ([]users.User, error)) error { t.Error("it has come"); return nil }})
	const head = "POST /v1/users HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + tokenLine
	huge := strings.Repeat(" ", maxBody)
	for name, rest := range map[string]string{
		"a length":  fmt.Sprintf("Content-Length: %d\r\n\r\n%s{", int64(1)<<40, huge),
		"chunks":    fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n1\r\n{\r\n", maxBody, huge),
		"one chunk": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n7fffffff\r\n%s{", huge),
	} {
		answers, bodies := s.send(t, head+rest)
		if len(answers) != 1 || answers[0].StatusCode != 413 || !answers[0].Close {
			t.Errorf("%s: %d answers, %q", name, len(answers), bodies)
		}
	}
}

// A body that comes a byte at a time is waited for, for a limited time, also of a client
// with the token.
func TestSlowBodiesEnd(t *testing.T) {
	testOverPipes(t, func(t *testing.T, ln *pipeListener) {
		conn := ln.dial()
		defer conn.Close()
		began := time.Now()
		var sending sync.WaitGroup
		defer sending.Wait()
		sending.Go(func() {
			io.WriteString(conn, "POST /v1/users HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n"+tokenLine+"\r\n{")
			for {
				if _, err := io.WriteString(conn, " "); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != 400 || !answer.Close {
			t.Errorf("%v, %v", answer, err)
		}
		if took := time.Since(began); took > readTimeout+time.Second {
			t.Errorf("it took %v", took)
		}
		conn.Close()
	})
}

// Ten thousand idle connections keep no operator out, not for a moment, and take no more
// than the limit.
func TestIdleConnectionsKeepNoOperatorOut(t *testing.T) {
	testOverPipes(t, func(t *testing.T, ln *pipeListener) {
		var mu sync.Mutex
		open := 0
		for range 10_000 {
			conn := ln.dial()
			defer conn.Close()
			mu.Lock()
			open++
			mu.Unlock()
			go func() {
				io.Copy(io.Discard, conn)
				mu.Lock()
				open--
				mu.Unlock()
			}()
		}
		synctest.Wait()
		if mu.Lock(); open > maxPending {
			t.Errorf("%d connections are open", open)
		}
		mu.Unlock()
		began := time.Now()
		conn := ln.dial()
		defer conn.Close()
		if answer := request(t, conn, tokenLine); answer.StatusCode != 200 || time.Since(began) != 0 {
			t.Error(answer.Status, time.Since(began))
		}
	})
}

// Room is made by the address with the most connections, and of it the oldest one. Of
// those with the token, it is made by the one that has been idle for longest, and by none
// that has a request.
func TestRoomIsMadeFairly(t *testing.T) {
	l := new(connections)
	add := func(address string) (c, evicted *connection) {
		client, server := net.Pipe()
		t.Cleanup(func() { client.Close(); server.Close() })
		c = &connection{Conn: server, of: l, network: networkOf(netip.MustParseAddr(address))}
		return c, l.add(c)
	}
	operator, _ := add("192.0.2.1")
	first, _ := add("192.0.2.66")
	for range maxPending - 2 {
		if _, evicted := add("192.0.2.66"); evicted != nil {
			t.Fatal("evicted before the limit")
		}
	}
	if _, evicted := add("192.0.2.66"); evicted != first {
		t.Error("another one than the oldest of the flood")
	} else {
		evicted.Close()
	}
	if _, evicted := add("192.0.2.2"); evicted == nil || evicted == operator {
		t.Error("an operator, or none, makes room for another one")
	} else {
		evicted.Close()
	}
	if first, second := l.accept(operator), l.accept(operator); !first || !second {
		t.Error("not accepted")
	}
	for len(l.accepted) < maxAccepted {
		c, evicted := add("192.0.2.1")
		if evicted != nil {
			evicted.Close()
		}
		l.accept(c)
	}
	late, evicted := add("192.0.2.3")
	if evicted != nil {
		evicted.Close()
	}
	if l.accept(late) {
		t.Error("accepted beyond the limit, and all have a request")
	}
	noteState(l.accepted[7], http.StateIdle)
	idle := l.accepted[7]
	if !l.accept(late) || len(l.accepted) != maxAccepted {
		t.Error("not accepted in place of an idle one")
	}
	if _, err := idle.Conn.Write([]byte{0}); err == nil {
		t.Error("the idle one is open")
	}
}

// No path leads out of the API, to another host or to another user.
func TestPathsOfUsers(t *testing.T) {
	bob := users.User{Name: "bob", Source: users.Store, Secrets: []mtproxy.Secret{{Mode: mtproxy.Plain, Key: [16]byte{1}}}}
	policy := users.New(users.Config{Log: slog.New(slog.DiscardHandler)})
	policy.Set([]users.User{bob})
	s := start(t, Config{Users: policy})
	for path, want := range map[string]int{
		"/v1/users/bob": 200, "/v1/users/b%6fb": 200, "/v1/users/bob%2f": 404, "/v1/users/bob%2fsecrets": 404, "/v1/users/BOB": 404,
		"/v1/users/..%2fusers%2fbob": 404, "/v1/users/bob%00": 404, "/v1/users/%0d%0aX-Injected:%201": 404, "/v1/users/bob;x": 404, "/v1/users/": 404,
	} {
		answers, bodies := s.send(t, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\n"+tokenLine+"\r\n")
		if len(answers) != 1 || answers[0].StatusCode != want || answers[0].Header.Get("X-Injected") != "" {
			t.Errorf("%s: %d answers, %q", path, len(answers), bodies)
		}
	}
	for _, path := range []string{"//attacker.example/v1/users/bob", "/v1/users/../users/bob", "/v1/users/%2e%2e", "/\\attacker.example", "/v1//users/bob"} {
		answers, _ := s.send(t, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\n"+tokenLine+"\r\n")
		for _, answer := range answers {
			if to := answer.Header.Get("Location"); answer.StatusCode == 200 || to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//")) {
				t.Errorf("%s: %s %q", path, answer.Status, to)
			}
		}
	}
}

// What clients send is on one line of the log, quoted, and never a line of its own.
func TestClientsWriteNoLinesOfTheLog(t *testing.T) {
	var log lockedBuffer
	s := start(t, Config{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	s.send(t, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: \x00\nlevel=ERROR msg=forged\r\n\r\n")
	s.send(t, "\x16\x03\x01\x02\x00\x01\nlevel=ERROR msg=forged\n")
	s.Close()
	for line := range strings.Lines(log.String()) {
		if !strings.HasPrefix(line, "time=") || strings.Contains(line, "level=ERROR") {
			t.Errorf("%q", line)
		}
	}
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}
