//go:build !js

package webproxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The end of a session ends an Open that waits for a network that does not answer.
func TestCloseEndsAnOpenThatConnects(t *testing.T) {
	relay := newRelay(t, WebSocketLanes, false, nil)
	config := relay.config()
	connect, hangs, hanging, unblock := config.DialContext, new(atomic.Bool), make(chan struct{}, 1), make(chan struct{})
	defer close(unblock)
	config.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if hangs.Load() {
			notify(hanging)
			<-unblock
			return nil, net.ErrClosed
		}
		return connect(ctx, network, address)
	}
	client := relay.dial(t, config)
	hangs.Store(true)
	opened := make(chan error, 1)
	go func() {
		_, err := client.Open(t.Context())
		opened <- err
	}()
	<-hanging
	client.closeTimeout = time.Millisecond // the network does not answer that request, either
	client.Close()
	if err := <-opened; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Open: %v", err)
	}
}

// Streams that are opened while the session is closed have an error, then or later, and
// leave nothing that Close does not wait for.
func TestOpenBesideClose(t *testing.T) {
	for _, carrier := range []Carrier{HTTPSLanes, WebSocketLanes} {
		relay := newRelay(t, carrier, carrier == HTTPSLanes, nil)
		for range 20 {
			client := relay.dial(t, nil)
			client.closeTimeout = time.Millisecond
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					conn, err := client.Open(t.Context())
					if err == nil {
						_, err = conn.Read(make([]byte, 1))
						conn.Close()
					}
					if err == nil {
						t.Error("a stream of a session that has ended goes on")
					}
				})
			}
			client.Close()
			all.Wait()
		}
	}
}
