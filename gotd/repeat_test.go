package gotd_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/gotd/td/bin"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/gotd"
)

type connKey struct{}

// A POST that fails is sent again although more packets are waiting than there may be POSTs
// at one time: Recv goes on meanwhile.
func TestAFailedPOSTIsSentAgainAmongMany(t *testing.T) {
	var mu sync.Mutex
	seen, failed := make(map[net.Conn]bool), false
	site := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		packet, _ := io.ReadAll(r.Body)
		conn := r.Context().Value(connKey{}).(net.Conn)
		mu.Lock()
		fails := packet[0] == 'f' && !failed
		failed = failed || fails && !seen[conn] // on another connection the client repeats it by itself
		seen[conn] = true
		mu.Unlock()
		if fails {
			conn.Close()
			return
		}
		w.Write(packet)
	}))
	site.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	site.Start()
	defer site.Close()
	dialled, err := mtwire.Dial(t.Context(), site.URL+"/api", nil)
	if err != nil {
		t.Fatal(err)
	}
	conn := gotd.Conn(dialled)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const packets = 40
	var sending sync.WaitGroup
	defer sending.Wait()
	defer conn.Close()
	sending.Go(func() {
		for i := range packets {
			text := "a message"
			if i == 3 {
				text = "f message"
			}
			if err := conn.Send(ctx, &bin.Buffer{Buf: []byte(text + "...")}); err != nil {
				return
			}
		}
	})
	kinds := make(map[byte]int)
	for i := range packets {
		var b bin.Buffer
		if err := conn.Recv(ctx, &b); err != nil {
			t.Fatalf("after %d answers: %v", i, err)
		}
		kinds[b.Buf[0]]++
	}
	if kinds['f'] != 1 || kinds['a'] != packets-1 {
		t.Errorf("answers: %v", kinds)
	}
}
