//go:build !js

package webproxy

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// handler is a Server whose requests are calls, so that time can be a bubble's.
type handler struct {
	*Server
	t    testing.TB
	link Link
	site *http.Request // the last request that the site got
}

func newHandler(t testing.TB, carrier Carrier, change func(*ServerConfig)) *handler {
	t.Helper()
	h := &handler{t: t, link: Link{Host: testHost, Secret: mustSecret(t, countingHex)}}
	config := ServerConfig{
		Host: testHost, Users: []User{{Name: "u", Secret: h.link.Secret, Carrier: carrier}},
		Site: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.site = r
			http.Error(w, "the site", http.StatusNotFound)
		}),
	}
	if change != nil {
		change(&config)
	}
	s, err := NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	h.Server, h.link.Path = s, config.Path
	return h
}

// do sends a request. Headers are names and values.
func (h *handler) do(method, path string, body []byte, headers ...string) *http.Response {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
		headers = append(headers, "Content-Type", bodyType)
	}
	r := httptest.NewRequest(method, path, reader)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func (h *handler) bootstrap() string {
	h.t.Helper()
	w := h.do("GET", h.link.Base()+"?bridge="+h.link.Capability().String(), nil)
	page, _ := io.ReadAll(w.Body)
	text, ok := findBootstrap(page, h.link.Capability().String())
	if w.StatusCode != 200 || w.Header.Get("Content-Type") != "text/html" || !ok {
		h.t.Fatalf("%v: %s", w.Status, page)
	}
	return text
}

func (h *handler) create(bootstrap string) *http.Response {
	return h.do("POST", h.link.Base()+pathSession, AppendHello(nil), "Authorization", "Bearer "+bootstrap)
}

// session makes a session, and returns its token.
func (h *handler) session() string {
	h.t.Helper()
	w := h.create(h.bootstrap())
	if w.StatusCode != 200 {
		h.t.Fatal(w.Status)
	}
	return w.Header.Get(headerToken)
}

func (h *handler) up(token string, sequence int, body []byte, headers ...string) *http.Response {
	return h.do("POST", h.link.Base()+pathUp, body, append(headers, "Authorization", "Bearer "+token, headerUp, strconv.Itoa(sequence))...)
}

func (h *handler) down(token string, cursor int, headers ...string) *http.Response {
	return h.do("POST", h.link.Base()+pathDown, nil, append(headers, "Authorization", "Bearer "+token, headerCursor, strconv.Itoa(cursor))...)
}

// want checks a status. 404 is the site's.
func (h *handler) want(w *http.Response, status int, what string) {
	h.t.Helper()
	if w.StatusCode != status {
		h.t.Errorf("%s: status %d, want %d", what, w.StatusCode, status)
	}
	if b, _ := io.ReadAll(w.Body); status == 404 && string(b) != "the site\n" {
		h.t.Errorf("%s: answer %q is not the site's", what, b)
	}
}

func body(t testing.TB, w *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A session is made once for a token: the same request has the same answer, for two
// minutes.
func TestASessionIsMadeOnceForAPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, HTTPS, nil)
		bootstrap := h.bootstrap()
		h.want(h.do("POST", "/"+pathSession, append(AppendHello(nil), 0), "Authorization", "Bearer "+bootstrap), 404, "other bytes")
		h.want(h.do("POST", "/"+pathSession, make([]byte, 65), "Authorization", "Bearer "+bootstrap), 404, "65 bytes")
		first, second := h.create(bootstrap), h.create(bootstrap)
		for _, w := range []*http.Response{first, second} {
			if w.StatusCode != 200 || w.Header.Get(headerToken) != first.Header.Get(headerToken) || w.Header.Get(headerCursor) != "0" ||
				w.Header.Get(headerCarrier) != "https" || w.Header.Get("Cache-Control") != "no-store" || !bytes.Equal(body(t, w), AppendWelcome(nil)) {
				t.Errorf("%v %v", w.Status, w.Header)
			}
		}
		if h.Stats().Sessions != 1 {
			t.Error(h.Stats())
		}
		time.Sleep(bootstrapLife)
		h.want(h.create(bootstrap), 404, "after two minutes")
		h.Close()
	})
}

// The last upload may be repeated. Other bytes and gaps end the session.
func TestUploadsAreAppliedOnce(t *testing.T) {
	h := newHandler(t, HTTPS, nil)
	token := h.session()
	upload := batch(open(7777), data(7777, "abc"))
	for range 3 {
		w := h.up(token, 1, upload)
		h.want(w, 204, "upload")
		if w.Header.Get(headerUpAck) != "1" {
			t.Error(w.Header)
		}
	}
	h.want(h.up(token, 2, batch(open(7776), data(7776, "d"), data(7777, "e"))), 204, "second")
	conn, _ := h.Accept()
	b := make([]byte, 10)
	n, _ := io.ReadAtLeast(conn, b, 4)
	if string(b[:n]) != "abce" || conn.(*Conn).StreamID() != 7777 {
		t.Errorf("%q", b[:n])
	}
	h.want(h.up(token, 2, batch(data(7776, "x"))), 404, "other bytes")
	h.want(h.up(token, 3, batch(data(7776, "x"))), 404, "after the session's end")
	token = h.session()
	h.want(h.up(token, 2, batch(open(1))), 404, "a gap")
	h.want(h.up(token, 1, batch(open(1))), 404, "after the session's end")
	for _, bad := range [][]byte{{}, batch(closing(1)), append(batch(open(1)), 0), batch(open(1), open(1))} {
		token = h.session()
		h.want(h.up(token, 1, bad), 404, "a bad batch")
		h.want(h.up(token, 1, batch(open(1))), 404, "after a bad batch")
	}
	if stats := h.Stats(); stats.Sessions != 0 || stats.Up > 3*itemCharge+10 {
		t.Errorf("%+v", stats)
	}
}

// A cursor asks for the batch behind it, again and again. A newer poll ends an older
// one, and one without data ends after 25 seconds.
func TestBatchesAreRepeatedUntilTheyAreAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, HTTPS, nil)
		defer h.Close()
		token := h.session()
		h.up(token, 1, batch(open(1)))
		conn, _ := h.Accept()
		conn.Write([]byte("abc"))
		for range 2 {
			w := h.down(token, 0)
			if got := body(t, w); w.StatusCode != 200 || w.Header.Get(headerCursor) != "1" || !bytes.Equal(got, batch(data(1, "abc"))) ||
				w.Header.Get("Content-Type") != bodyType {
				t.Errorf("%x, %v", got, w.Header)
			}
			conn.Write([]byte("d")) // is for the next batch
		}
		start, older := time.Now(), make(chan *http.Response)
		if got := body(t, h.down(token, 1)); !bytes.Equal(got, batch(data(1, "dd"))) {
			t.Errorf("%x", got)
		}
		go func() { older <- h.down(token, 2) }()
		synctest.Wait()
		newer := make(chan *http.Response)
		go func() { newer <- h.down(token, 2) }()
		if w := <-older; w.StatusCode != 204 || w.Header.Get(headerCursor) != "2" || time.Since(start) > 0 {
			t.Errorf("the older poll: %v after %v", w.Status, time.Since(start))
		}
		synctest.Wait()
		conn.Write([]byte("e"))
		if got := body(t, <-newer); !bytes.Equal(got, batch(data(1, "e"))) {
			t.Errorf("the newer poll: %x", got)
		}
		start = time.Now()
		if w := h.down(token, 3); w.StatusCode != 204 || w.Header.Get(headerCursor) != "3" || time.Since(start) != pollTime {
			t.Errorf("%v %v after %v", w.Status, w.Header, time.Since(start))
		}
		h.want(h.down(token, 1), 404, "a cursor behind")
		h.want(h.down(token, 3), 404, "after the session's end")
	})
}

// OPEN over a limit is answered with CLOSE, and the session goes on.
func TestAStreamOverALimitIsClosed(t *testing.T) {
	h := newHandler(t, HTTPS, func(c *ServerConfig) { c.Limits.SessionStreams = 2 })
	token := h.session()
	h.want(h.up(token, 1, batch(open(3), open(2), open(1), data(1, "late"))), 204, "three streams")
	if got := body(t, h.down(token, 0)); !bytes.Equal(got, batch(closing(1))) {
		t.Errorf("%x", got)
	}
	h.want(h.up(token, 2, batch(closing(3), data(2, "x"))), 204, "the session goes on")
	conn, _ := h.Accept()
	conn.Close()
	h.want(h.up(token, 3, batch(open(9))), 204, "another stream")
	if h.Stats().Streams != 2 {
		t.Error(h.Stats())
	}
}

// What a stream gets in the batch that opens and closes it arrives. The session goes on.
func TestABatchMayOpenAndCloseAStream(t *testing.T) {
	for _, carrier := range []Carrier{HTTPS, HTTPSLanes} {
		h := newHandler(t, carrier, nil)
		defer h.Close()
		token, header := h.session(), func(id string) []string {
			if carrier == HTTPSLanes {
				return []string{headerLane, id}
			}
			return nil
		}
		h.want(h.up(token, 1, batch(open(1), data(1, "hi"), closing(1)), header("1")...), 204, "all at once")
		conn, err := h.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(conn); string(b) != "hi" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		conn.Close()
		next := 2
		if carrier == HTTPSLanes {
			next = 1
		}
		h.want(h.up(token, next, batch(open(2)), header("2")...), 204, "the next stream")
		if stats := h.Stats(); stats.Sessions != 1 || stats.Streams != 1 {
			t.Errorf("%+v", stats)
		}
	}
}

// The window is 4 MiB, and DATA over it ends the session.
func TestDataOverTheWindowEndsTheSession(t *testing.T) {
	h := newHandler(t, HTTPS, nil)
	token := h.session()
	mega := Frame{DataFrame, 1, make([]byte, MaxPayload)}
	h.want(h.up(token, 1, batch(open(1), mega)), 204, "1 MiB")
	for i := range 3 {
		h.want(h.up(token, 2+i, batch(mega)), 204, "1 MiB")
	}
	h.want(h.up(token, 5, batch(data(1, "x"))), 404, "a byte over 4 MiB")
}

// A session may be deleted twice, within two minutes.
func TestASessionIsDeletedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, HTTPS, nil)
		token := h.session()
		h.want(h.do("DELETE", "/"+pathSession, nil, "Authorization", "Bearer "+token), 204, "first")
		h.want(h.do("DELETE", "/"+pathSession, nil, "Authorization", "Bearer "+token), 204, "second")
		h.want(h.up(token, 1, batch(open(1))), 404, "upload")
		time.Sleep(reconnectGrace + 1)
		h.want(h.do("DELETE", "/"+pathSession, nil, "Authorization", "Bearer "+token), 404, "after two minutes")
	})
}

// A session ends two minutes after its last request. A long poll is one until it is
// answered.
func TestASessionEndsWithoutRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, HTTPS, nil)
		token := h.session()
		time.Sleep(reconnectGrace - time.Second)
		h.want(h.down(token, 0), 204, "poll")
		time.Sleep(reconnectGrace - time.Second)
		h.want(h.up(token, 1, batch(open(1))), 204, "upload")
		conn, _ := h.Accept()
		time.Sleep(reconnectGrace + time.Second)
		h.want(h.up(token, 2, batch(closing(1))), 404, "after two minutes")
		if n, err := conn.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Error(n, err)
		}
		conn.Close()
		if h.Stats() != (Stats{}) {
			t.Errorf("%+v", h.Stats())
		}
	})
}

// A server that is full says so, and the page's token is as good later.
func TestAFullServerIsBusy(t *testing.T) {
	h := newHandler(t, HTTPS, func(c *ServerConfig) { c.Limits.Sessions = 1 })
	first, bootstrap := h.session(), h.bootstrap()
	w := h.create(bootstrap)
	h.want(w, 503, "a second session")
	if w.Header.Get("Retry-After") != "1" {
		t.Error(w.Header)
	}
	h.do("DELETE", "/"+pathSession, nil, "Authorization", "Bearer "+first)
	h.want(h.create(bootstrap), 200, "after the first has ended")
}

// The limits of pages make the site answer.
func TestPagesOverTheirLimitsAreTheSites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, HTTPS, func(c *ServerConfig) { c.Limits.Bootstraps = 5 })
		page := func() *http.Response { return h.do("GET", "/?bridge="+h.link.Capability().String(), nil) }
		for range 4 { // the fifth is another user's
			h.want(page(), 200, "page")
		}
		h.want(page(), 404, "page over the limit")
		time.Sleep(bootstrapLife)
		h.want(page(), 200, "page after two minutes")
		h = newHandler(t, HTTPS, func(c *ServerConfig) { c.Limits.PagesPerMinute = 80 })
		for range 12 { // and four for other users
			h.want(page(), 200, "page")
		}
		h.want(page(), 404, "page over the rate")
		time.Sleep(time.Second)
		h.want(page(), 200, "page after a second")
		h.want(page(), 404, "page over the rate")
	})
}

// Both of a key's capabilities get a page, and streams have the secret of theirs. A
// padded secret has one.
func TestAPlainKeyHasTwoCapabilities(t *testing.T) {
	h := newHandler(t, HTTPS, nil)
	h.link.Secret = mustSecret(t, "dd"+countingHex)
	token := h.session()
	h.up(token, 1, batch(open(1)))
	if conn, _ := h.Accept(); conn.(*Conn).Secret() != h.link.Secret {
		t.Error(conn.(*Conn).Secret().Redacted())
	}
	if err := h.SetUsers([]User{{Name: "u", Secret: h.link.Secret}}); err != nil {
		t.Fatal(err)
	}
	h.want(h.up(token, 2, batch(closing(1))), 204, "the user's secret is the same")
	h.link.Secret = mustSecret(t, countingHex)
	h.want(h.do("GET", "/?bridge="+h.link.Capability().String(), nil), 404, "a plain capability of a padded secret")
	bootstrap := ""
	h.link.Secret = mustSecret(t, "dd"+countingHex)
	bootstrap = h.bootstrap()
	if err := h.SetUsers([]User{{Name: "v", Secret: mustSecret(t, countingHex)}}); err != nil {
		t.Fatal(err)
	}
	h.want(h.up(token, 3, batch(open(9))), 404, "the user is gone")
	h.want(h.create(bootstrap), 404, "the user of the page is gone")
	for _, users := range [][]User{
		{{Name: "a", Secret: mustSecret(t, countingHex)}, {Name: "b", Secret: mustSecret(t, "dd"+countingHex)}},
		{{Name: "a", Secret: mustSecret(t, "ee"+countingHex+"612e62")}}, {{Name: "a"}}, {{Name: "a", Secret: mustSecret(t, countingHex), Carrier: 9}},
	} {
		if err := h.SetUsers(users); err == nil || strings.Contains(err.Error(), countingHex) {
			t.Errorf("%v", err)
		}
	}
}
