package proxy

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A recorded handshake that is sent again gets the fronting host, with FakeTLS
// records and without.
func TestReplayedHandshakesAreNotAnswered(t *testing.T) {
	dc, _ := dataCenter(t)
	host, visits := frontingHost(t)
	address := start(t, Config{DataCenters: allAt(dc), Fronts: map[string]string{"": host}})
	for _, m := range mtwiretest.ProxiedModes() {
		recorder := &writeRecorder{}
		conn, err := mtwire.Dial(short(t), m.Endpoint(address), &mtwire.DialConfig{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				socket, err := (&net.Dialer{}).DialContext(ctx, network, address)
				recorder.Conn = socket
				return recorder, err
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		echo(t, conn, 3)
		conn.Close()
		fronted(t, address, visits, recorder.sent)
	}
}

// writeRecorder keeps what is written.
type writeRecorder struct {
	net.Conn
	sent []byte
}

func (r *writeRecorder) Write(p []byte) (int, error) {
	r.sent = append(r.sent, p...)
	return r.Conn.Write(p)
}

// The memory is bounded, and keeps each handshake for as many others as its
// capacity.
func TestReplayMemoryForgetsTheOldest(t *testing.T) {
	m := newReplayMemory(100)
	id := func(i int) (id [16]byte) {
		copy(id[:], fmt.Sprint(i))
		return id
	}
	for i := range 1000 {
		if m.seen(id(i)) {
			t.Fatalf("%d is new", i)
		}
		if i >= 100 && !m.seen(id(i-100)) {
			t.Fatalf("%d is forgotten after 100 others", i-100)
		}
		if n := m.ids.Len(); n > 200 {
			t.Fatalf("%d are remembered", n)
		}
	}
	if m.seen(id(0)) {
		t.Error("the first is still known")
	}
}
