//go:build !js

package webproxy

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// trickle is a body, or the connection of an answer, that takes a second for each part.
type trickle struct {
	http.ResponseWriter
	io.Reader
}

func (r trickle) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return r.Reader.Read(p[:min(len(p), 1)])
}

func (r trickle) Write(p []byte) (int, error) {
	time.Sleep(time.Second)
	return r.ResponseWriter.Write(p)
}

// A batch of a slow client moves, in either direction, although it takes long.
func TestShutdownWaitsForSlowBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, HTTPS, nil)
		up, down := h.session(), h.session()
		h.want(h.up(down, 1, batch(open(1))), 204, "a stream")
		conn, err := h.Accept()
		if err != nil {
			t.Fatal(err)
		}
		const size = 8 * chunkPayload
		go conn.Write(make([]byte, size))
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- h.Shutdown(t.Context()) }()
		answers := make(chan *httptest.ResponseRecorder, 2)
		request := func(path, token, header, number string, body io.Reader) {
			r := httptest.NewRequest("POST", h.link.Base()+path, body)
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set(header, number)
			if body != nil {
				r.Header.Set("Content-Type", bodyType)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(trickle{ResponseWriter: w}, r)
			answers <- w
		}
		go request(pathUp, up, headerUp, "1", trickle{Reader: bytes.NewReader(batch(open(1)))})
		go request(pathDown, down, headerCursor, "0", nil)
		for range 2 {
			if w := <-answers; w.Code != 204 && (w.Code != 200 || w.Body.Len() < size) {
				t.Errorf("status %d, %d bytes", w.Code, w.Body.Len())
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
