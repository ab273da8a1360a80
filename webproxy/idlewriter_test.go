//go:build !js

package webproxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A ResponseWriter of HTTP/2 lends its buffer while nothing is written, and its answers are
// then what they would have been: a short one has its length, and a long one is whole. Others
// keep theirs.
func TestAWriterOfHTTP2LendsItsBuffer(t *testing.T) {
	for _, http2 := range []bool{true, false} {
		answer := ""
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			lent := lendBuffer(w)
			if (lent != nil) != http2 || lendBuffer(w) != nil {
				t.Errorf("%s: lent %v", r.Proto, lent)
			}
			returnBuffer(lent)
			for part := range strings.SplitSeq(answer, " ") {
				io.WriteString(w, part)
			}
			if lendBuffer(w) != nil {
				t.Error("a buffer with a part of the answer is lent")
			}
		}))
		server.EnableHTTP2 = http2
		server.StartTLS()
		defer server.Close()
		for _, answer = range []string{"some text", strings.Repeat("long ", 3000) + "end"} {
			resp, err := server.Client().Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			want := strings.ReplaceAll(answer, " ", "")
			if err != nil || string(body) != want || len(want) < 100 && resp.ContentLength != int64(len(want)) {
				t.Errorf("%d bytes of %d, length %d: %v", len(body), len(want), resp.ContentLength, err)
			}
		}
	}
}
