//go:build !js

package webproxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// Every request that is no client's gets the site's answer, byte for byte, and the
// site gets the request as it came.
func TestOtherRequestsAreTheSites(t *testing.T) {
	var got *http.Request
	var gotBody string
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, gotBody = r, string(b)
		w.Header().Set("X-Site", "yes")
		w.WriteHeader(404)
		fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, len(b))
	})
	for _, path := range []string{"", "two/segments"} {
		h := newHandler(t, HTTPS, func(c *ServerConfig) { c.Path, c.Site = path, site })
		token, bootstrap := h.session(), h.bootstrap()
		base, capability := h.link.Base(), h.link.Capability().String()
		other := new(tokenKey).issue(sessionToken).String()
		key := tokenKey{1}
		random := key.issue(sessionToken).String()
		for _, c := range []struct {
			method, path, body string
			headers            []string
			secret             bool // a real one is in it
		}{
			{"GET", base, "", nil, false},
			{"HEAD", base, "", nil, false},
			{"GET", strings.TrimSuffix(base, "/") + "/index.html", "", nil, false},
			{"GET", "/" + path, "", nil, false},
			{"GET", base + "?bridge=" + other, "", nil, false},
			{"GET", base + "?bridge=" + other[1:], "", nil, false},
			{"GET", base + "?bridge=", "", nil, false},
			{"GET", base + "?bridge=" + capability + "&x=1", "", nil, true},
			{"GET", base + "?x=1&bridge=" + capability, "", nil, true},
			{"GET", base + "?bridge=%" + fmt.Sprintf("%x", capability[0]) + capability[1:], "", nil, true},
			{"GET", base + "?100%&bridge=%" + fmt.Sprintf("%x", capability[0]) + capability[1:] + "&x=%zz%4", "", nil, true},
			{"GET", base + "?bridge=" + capability + "_", "", nil, true},
			{"GET", base + "x-" + capability, "", nil, true},
			{"GET", base + "index.html?bridge=" + capability, "", nil, true},
			{"GET", base + capability, "", nil, true},
			{"HEAD", base + "?bridge=" + capability, "", nil, true},
			{"POST", base + "?bridge=" + capability, "body", nil, true},
			{"GET", base, "", []string{"Referer", "https://" + testHost + base + "?bridge=" + capability}, true},
			{"POST", base + pathUp, "body", nil, false},
			{"POST", base + pathUp, "body", []string{"Content-Type", bodyType, headerUp, "1"}, false},
			{"POST", base + pathUp, "body", []string{"Authorization", "Bearer " + random, "Content-Type", bodyType, headerUp, "1"}, false},
			{"POST", base + pathUp, "body", []string{"Authorization", "Bearer " + bootstrap, "Content-Type", bodyType, headerUp, "1"}, true},
			{"POST", base + pathUp + "?x", "body", []string{"Authorization", "Bearer " + token, "Content-Type", bodyType, headerUp, "1"}, true},
			{"POST", base + pathUp + "?", "body", []string{"Authorization", "Bearer " + token, "Content-Type", bodyType, headerUp, "1"}, true},
			{"POST", base + "api/v1/%75p", "body", []string{"Authorization", "Bearer " + token, "Content-Type", bodyType, headerUp, "1"}, true},
			{"POST", base + pathUp + "/", "body", []string{"Authorization", "Bearer " + token, "Content-Type", bodyType, headerUp, "1"}, true},
			{"POST", base + pathUp, "body", []string{"Authorization", "Bearer " + token, "Content-Type", bodyType, headerUp, "1", "Cookie", "a=b"}, true},
			{"POST", base + pathUp, "body", []string{"Authorization", "Bearer " + token, "Content-Type", "text/plain", headerUp, "1"}, true},
			{"POST", base + pathUp, "body", []string{"Authorization", "Bearer " + token, "Content-Type", bodyType, headerUp, "01"}, true},
			{"POST", base + pathUp, "body", []string{"Authorization", "Bearer " + token, "Content-Type", bodyType, headerUp, "+1"}, true},
			{"POST", base + pathUp, "body", []string{"Authorization", "Bearer " + token, "Content-Type", bodyType}, true},
			{"POST", base + pathUp, "body", []string{"Authorization", "Bearer " + token, "Content-Type", bodyType, headerUp, "1", headerLane, "1"}, true},
			{"POST", base + pathUp, "body", []string{"Authorization", "Bearer " + token, "Authorization", "Bearer x", "Content-Type", bodyType, headerUp, "1"}, true},
			{"PUT", base + pathUp, "body", []string{"Authorization", "Bearer " + token, "Content-Type", bodyType, headerUp, "1"}, true},
			{"HEAD", base + pathUp, "", []string{"Authorization", "Bearer " + token}, true},
			{"POST", base + pathDown, "body", []string{"Authorization", "Bearer " + token, headerCursor, "0"}, true},
			{"POST", base + pathDown, "", []string{"Authorization", "Bearer " + token, headerCursor, "0", "Content-Type", bodyType}, true},
			{"POST", base + pathDown, "", []string{"Authorization", "Basic " + token, headerCursor, "0"}, true},
			{"GET", base + pathDown, "", []string{"Authorization", "Bearer " + token, headerCursor, "0"}, true},
			{"DELETE", base + pathSession, "", []string{"Authorization", "Bearer " + bootstrap}, true},
			{"POST", base + pathSession, "body", []string{"Authorization", "Bearer " + token, "Content-Type", bodyType}, true},
			{"GET", base + pathSocket, "", []string{"Sec-WebSocket-Protocol", subprotocol + token}, true},
			{"POST", "/other", "body", []string{"X-Custom", "v", "Content-Type", bodyType}, false},
			{"OPTIONS", "/*", "", nil, false},
		} {
			name := fmt.Sprintf("%s %s %v", c.method, c.path, c.headers)
			request := func(path string) *http.Request {
				var reader io.Reader = http.NoBody
				if c.body != "" {
					reader = strings.NewReader(c.body)
				}
				r := httptest.NewRequest(c.method, path, reader)
				for i := 0; i < len(c.headers); i += 2 {
					r.Header.Add(c.headers[i], c.headers[i+1])
				}
				return r
			}
			r, w := request(c.path), httptest.NewRecorder()
			before := request(c.path)
			got = nil
			h.ServeHTTP(w, r)
			if got == nil || w.Code != 404 || !reflect.DeepEqual(w.Header()["X-Site"], []string{"yes"}) || w.Header().Get("Cache-Control") != "" {
				t.Errorf("%s: not the site's: %d %v", name, w.Code, w.Header())
				continue
			}
			dump := fmt.Sprint(got.RequestURI, got.URL, got.URL.RawPath, got.Header, w.Body)
			dump += unescape(dump)
			for _, secret := range []string{capability, token, bootstrap} {
				if strings.Contains(dump, secret) {
					t.Errorf("%s: the site gets a credential: %s", name, dump)
				}
			}
			if same := got == r && gotBody == c.body && reflect.DeepEqual(got.Header, before.Header) && got.RequestURI == before.RequestURI; same == c.secret {
				t.Errorf("%s: passed on unchanged: %v (body %q)", name, same, gotBody)
			}
		}
		r := httptest.NewRequest("GET", base+"?bridge="+capability, nil)
		r.Host = "other.example.com"
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != 404 || strings.Contains(got.RequestURI, capability) {
			t.Errorf("another host: %d, %s", w.Code, got.RequestURI)
		}
		if w := h.do("GET", base+"?bridge="+capability, nil); w.StatusCode != 200 {
			t.Errorf("the page itself: %v", w.Status)
		}
		if h.Stats().Sessions != 1 {
			t.Error("a bad request has ended the session")
		}
	}
}

// A server with the same key knows the tokens from before its restart, and keeps
// them from the site. They are no sessions.
func TestTokensFromBeforeARestartDoNotReachTheSite(t *testing.T) {
	key := [32]byte{1, 2, 3}
	h := newHandler(t, HTTPS, func(c *ServerConfig) { c.TokenKey = key })
	token := h.session()
	h = newHandler(t, HTTPS, func(c *ServerConfig) { c.TokenKey = key })
	h.want(h.up(token, 1, batch(open(1))), 404, "upload")
	if text := h.site.Header.Get("Authorization"); strings.Contains(text, token) || len(text) != len("Bearer ")+tokenText {
		t.Error(text)
	}
	h = newHandler(t, HTTPS, nil)
	h.want(h.up(token, 1, batch(open(1))), 404, "upload to another server")
	if h.site.Header.Get("Authorization") != "Bearer "+token {
		t.Error("the token of another server is changed")
	}
}

// Over real connections, the site's answers do not differ by a byte with the server
// in front: without a token, with a random one, and with a session's in a wrong place.
func TestTheSitesAnswersAreTheSameBytes(t *testing.T) {
	site := http.NewServeMux()
	site.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, "index")
	})
	for _, http2 := range []bool{false, true} {
		relay := newRelay(t, HTTPS, http2, func(c *ServerConfig) { c.Path, c.Site = "", site })
		client := relay.dial(t, nil)
		alone := httptest.NewUnstartedServer(site)
		alone.EnableHTTP2 = http2
		alone.StartTLS()
		defer alone.Close()
		random := strings.Repeat("A", tokenText)
		paths := []string{"/", "/?bridge=" + random, "/" + pathUp, "/" + pathDown, "/" + pathSession, "/" + pathSocket, "/%2e"}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} {
			for _, path := range paths {
				for _, token := range []string{"", random, client.token} {
					for _, more := range []struct{ query, cookie string }{{"", ""}, {"x=1", ""}, {"", "a=b"}} {
						// The body's type is missing, so that no request is valid but DELETE.
						if token == client.token && method == "DELETE" && path == "/"+pathSession && more.query+more.cookie == "" {
							continue
						}
						target, headers := path, map[string]string{"Authorization": "Bearer " + token, "Cookie": more.cookie}
						if more.query != "" {
							target += map[bool]string{false: "?", true: "&"}[strings.Contains(path, "?")] + more.query
						}
						if got, want := ask(t, relay.web, method, target, headers), ask(t, alone, method, target, headers); got != want {
							t.Errorf("%s %s %v: %s, want %s", method, target, headers, got, want)
						}
					}
				}
			}
		}
		if relay.Stats().Sessions != 1 {
			t.Error("the session has ended")
		}
	}
}

// ask returns all of a server's answer to a request with a body. Headers without a value
// are left out.
func ask(t *testing.T, server *httptest.Server, method, target string, headers map[string]string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+target, strings.NewReader("a body"))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = testHost
	for name, value := range headers {
		if strings.TrimPrefix(value, "Bearer ") != "" {
			r.Header.Set(name, value)
		}
	}
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.Status, resp.Header, resp.ContentLength, string(b))
}
