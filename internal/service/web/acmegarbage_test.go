package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

// garbage returns the error of an attempt with a server that answers the directory, unless
// answer is nil, and everything else with answer.
func garbage(t *testing.T, directory bool, answer http.HandlerFunc) error {
	t.Helper()
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Replay-Nonce", "n")
		if directory && r.URL.Path == "/" {
			fmt.Fprintf(w, `{"newNonce":"%s/nonce","newAccount":"%[1]s/account","newOrder":"%[1]s/new"}`, server.URL)
			return
		}
		answer(w, r)
	}))
	defer server.Close()
	a, err := NewACME(ACMEConfig{Host: "proxy.example.com", Directory: server.URL + "/", Path: t.TempDir(), Log: discardLog})
	if err != nil {
		t.Fatal(err)
	}
	if err = a.renew(t.Context()); err == nil || len(err.Error()) > maxCause+10 {
		t.Fatalf("an error of %d bytes", len(fmt.Sprint(err)))
	}
	if _, err := os.Stat(a.certificatePath()); !errors.Is(err, os.ErrNotExist) {
		t.Error("there is a certificate")
	}
	return err
}

// An ACME server, or what answers in its place, may send pages without end: neither the memory
// nor the log has more than a part of them. The cause of an error that is not too long is whole,
// and a server that limits the rate of requests gets no more of them.
func TestAnACMEServerThatAnswersGarbage(t *testing.T) {
	page := "<html>" + strings.Repeat("garbage\n", 100_000)
	var sent atomic.Int64
	endless := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if status != 0 {
				w.WriteHeader(status)
			}
			for {
				n, err := w.Write([]byte(page))
				if sent.Add(int64(n)); err != nil || sent.Load() > 1<<30 {
					return
				}
			}
		}
	}
	for name, c := range map[string]struct {
		directory bool
		answer    http.HandlerFunc
	}{
		"a page":              {false, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page) }},
		"no directory":        {false, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "null") }},
		"a page with status":  {true, endless(http.StatusForbidden)},
		"an endless page":     {false, endless(http.StatusNotFound)},
		"an endless document": {false, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"newNonce":"`); endless(0)(w, r) }},
		"a long problem": {true, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"type":"urn:ietf:params:acme:error:malformed","detail":%q}`, page)
		}},
	} {
		sent.Store(0)
		if err := garbage(t, c.directory, c.answer); sent.Load() > 64<<20 {
			t.Errorf("%s: %d bytes were read before %v", name, sent.Load(), err)
		}
	}
	requests := 0
	detail := "too many certificates already issued, " + strings.Repeat("and so on, ", 40) + "retry after noon"
	err := garbage(t, true, func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests > 2 {
			t.Error("another request in spite of a limit of requests")
		}
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprintf(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":%q}`, detail)
	})
	if !strings.Contains(err.Error(), detail) {
		t.Error(err)
	}
}
