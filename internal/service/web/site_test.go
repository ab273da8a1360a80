package web

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

var discardLog = slog.New(slog.DiscardHandler)

func newSite(t *testing.T, where string) *Site {
	t.Helper()
	site, err := NewSite(where, discardLog)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { site.Close() })
	return site
}

// answer returns the answer to a request.
func answer(h http.Handler, method, target, body string) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w.Result()
}

// A directory has its files and the indexes of its folders: no lists, no dot files but
// those of .well-known, and nothing outside of it.
func TestADirectoryHasItsFilesAlone(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	for name, text := range map[string]string{
		"index.html": "home", "a.txt": "text", "folder/index.html": "folder", "empty/b.txt": "b",
		".git/config": "git", ".htpasswd": "pw", "folder/.env": "env", ".well-known/security.txt": "contact", "404.html": "no such page",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(outside, []byte("outside"), 0o644); err != nil {
		t.Fatal(err)
	}
	linked := os.Symlink(outside, filepath.Join(dir, "link.txt")) == nil
	site := newSite(t, dir)
	for target, want := range map[string]string{
		"/": "200 home", "/a.txt": "200 text", "/folder/": "200 folder", "/folder": "301 ", "/empty/b.txt": "200 b",
		"/.well-known/security.txt": "200 contact", "/empty/": "404 no such page", "/.git/config": "404 no such page",
		"/.htpasswd": "404 no such page", "/folder/.env": "404 no such page", "/missing": "404 no such page",
		"/..%2f..%2fetc/passwd": "404 no such page", "/link.txt": "404 no such page", "/%2egit/config": "404 no such page",
		"/a.txt/": "404 no such page",
	} {
		if target == "/link.txt" && !linked {
			continue
		}
		r := answer(site, "GET", target, "")
		body, _ := io.ReadAll(r.Body)
		if got := fmt.Sprintf("%d %s", r.StatusCode, body); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	if r := answer(site, "POST", "/", "x"); r.StatusCode != 405 || r.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d", r.StatusCode)
	}
	if r := answer(site, "HEAD", "/missing", ""); r.StatusCode != 404 || r.ContentLength != int64(len("no such page")) {
		t.Errorf("HEAD: %d, %d", r.StatusCode, r.ContentLength)
	}
}

// A server behind the proxy gets the request that came, with its host and the client's
// address, and its answer is the visitor's. What has a credential does not reach it.
func TestAServerBehindGetsRequestsAsTheyCame(t *testing.T) {
	var got *http.Request
	var body string
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, body = r, string(b)
		w.Header().Set("Server", "backend")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "answer")
	}))
	defer backend.Close()
	secret, err := mtproxy.ParseSecret("000102030405060708090a0b0c0d0e0f")
	if err != nil {
		t.Fatal(err)
	}
	server, err := New(Config{Host: "proxy.example.com", Site: newSite(t, backend.URL), Log: discardLog})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.SetUsers([]webproxy.User{{Name: "alice", Secret: secret}}); err != nil {
		t.Fatal(err)
	}
	r := answer(server.current.Load().relay, "PATCH", "https://proxy.example.com/api/v1/up?a=1&b=;c", "the body")
	b, _ := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusTeapot || string(b) != "answer" || r.Header.Get("Server") != "backend" {
		t.Errorf("%d %s", r.StatusCode, b)
	}
	if got.Method != "PATCH" || got.Host != "proxy.example.com" || got.RequestURI != "/api/v1/up?a=1&b=;c" || body != "the body" ||
		got.Header.Get("X-Forwarded-For") != "192.0.2.1" || got.Header["User-Agent"] != nil {
		t.Errorf("%s %s %s %q %v", got.Method, got.Host, got.RequestURI, body, got.Header)
	}
	capability := webproxy.DeriveCapability(secret, "proxy.example.com", "").String()
	answer(server.current.Load().relay, "GET", "https://proxy.example.com/other?bridge="+capability, "")
	if strings.Contains(got.RequestURI, capability) || !strings.HasPrefix(got.RequestURI, "/other?bridge=") {
		t.Errorf("the server gets %s", got.RequestURI)
	}
	backend.Close()
	if r := answer(server.current.Load().relay, "GET", "https://proxy.example.com/", ""); r.StatusCode != http.StatusBadGateway {
		t.Errorf("without the server: %d", r.StatusCode)
	}
}

// What cannot be a site is an error.
func TestABadSiteIsAnError(t *testing.T) {
	for _, where := range []string{
		"/no/such/directory", "site_test.go", "https://127.0.0.1:1", "http://", "http://127.0.0.1:1/path", "http://127.0.0.1:99999", "http://127.0.0.1:0", "http://user@127.0.0.1", "ftp://a",
	} {
		if site, err := NewSite(where, discardLog); err == nil {
			site.Close()
			t.Errorf("%s is a site", where)
		}
	}
}
