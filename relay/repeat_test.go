package relay_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/relay"
)

// failOnce is a server over HTTP that answers each message with itself, but closes the
// connection of one of them, until the client does not repeat it by itself any more: see
// httpconn.Client.
type failOnce struct {
	mu     sync.Mutex
	seen   map[net.Conn]bool // connections that have had a request
	failed bool
}

type connKey struct{}

func (f *failOnce) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	packet, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	conn := r.Context().Value(connKey{}).(net.Conn)
	f.mu.Lock()
	fails := packet[0] == unknown && !f.failed
	f.failed = f.failed || fails && !f.seen[conn]
	f.seen[conn] = true
	f.mu.Unlock()
	if fails {
		conn.Close()
		return
	}
	w.Write(packet)
}

// A POST that fails is sent again although more packets of the client are waiting than there
// may be POSTs at one time: no answer is lost, and none waits for it.
func TestAFailedPOSTIsSentAgainAmongMany(t *testing.T) {
	server := httptest.NewUnstartedServer(&failOnce{seen: make(map[net.Conn]bool)})
	server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	server.Start()
	defer server.Close()
	address, _ := start(t, relay.Config{To: []mtwire.Endpoint{endpoint(t, "http://HOST:PORT/api", server.Listener.Addr().String())}}, nil)
	client, err := mtwire.Dial(t.Context(), "tcp://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const packets = 40
	kinds := make(map[byte]int)
	for i := range packets {
		kind := byte(echo)
		if i == 3 {
			kind = unknown
		}
		if err := client.Send(ctx, message(kind, 16)); err != nil {
			t.Fatal(err)
		}
		if i > 0 { // the first answer is that of a server that works
			continue
		}
		if _, err := client.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for i := range packets - 1 {
		packet, err := client.Receive(ctx)
		if err != nil {
			t.Fatalf("after %d answers: %v", i, err)
		}
		kinds[packet.Payload[0]]++
	}
	if kinds[unknown] != 1 || kinds[echo] != packets-2 {
		t.Errorf("answers: %v", kinds)
	}
}
