package httpconn

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// What is reserved for responses is given back with them: when Receive or Exchange returns
// them, and at once for those without a packet. A response for which there is no memory
// fails its POST.
func TestMemoryForResponses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.ContentLength {
		case 8: // an empty response
		case 12:
			w.WriteHeader(http.StatusNotFound)
		case 16:
			w.Write(make([]byte, 7)) // the length of no packet
		case 20: // without an announced length
			w.(http.Flusher).Flush()
			w.Write(make([]byte, 300_000))
		default:
			w.Write(make([]byte, 200_000))
		}
	}))
	defer server.Close()
	var used, most atomic.Int64
	full := errors.New("full")
	c, err := NewClient(server.URL, &ClientConfig{Reserve: func(change int) error {
		now := used.Add(int64(change))
		if change > 0 && now > 1_500_000 {
			used.Add(-int64(change))
			return full
		}
		most.Store(max(most.Load(), now)) // exact enough
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, length := range []int{8, 12, 16, 20, 24} {
		if err := c.Send(t.Context(), make([]byte, length)); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 { // not the empty one
		c.Receive(t.Context())
	}
	if packet, err := c.Exchange(t.Context(), make([]byte, 24)); err != nil || len(packet) != 200_000 {
		t.Errorf("%d bytes, %v", len(packet), err)
	}
	if err := c.Send(t.Context(), make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	c.posts.Wait()
	if most.Load() < 300_000 || used.Load() != 0 {
		t.Errorf("%d bytes of %d are not given back", used.Load(), most.Load())
	}
	for range 8 {
		if err := c.Send(t.Context(), make([]byte, 24)); err != nil {
			t.Fatal(err)
		}
	}
	c.posts.Wait()
	failed := 0
	for range 8 {
		_, err := c.Receive(t.Context())
		if errors.Is(err, full) {
			failed++
		} else if err != nil {
			t.Error(err)
		}
	}
	if failed == 0 || used.Load() != 0 {
		t.Errorf("%d POSTs have failed, %d bytes are not given back", failed, used.Load())
	}
	if err := c.Send(t.Context(), make([]byte, 24)); err != nil {
		t.Fatal(err)
	}
	c.posts.Wait()
	if held := used.Load(); held < 200_000 {
		t.Errorf("%d bytes are reserved for a response", held)
	}
	c.Close()
	if used.Load() != 0 || len(c.results) != 0 {
		t.Error("Close keeps a response")
	}
}
