package relay_test

import (
	"context"
	"net"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/relay"
)

// The answers of a server over HTTP to clients that take none are in a memory as well: at
// its limit those that have waited for longest are dropped.
func TestAnswersOverHTTPShareAMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := message(echo, 250_000)
		c := &crowd{}
		dial := func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			c.running.Go(func() {
				conn := mtwire.Server(theirs, nil)
				defer conn.Close()
				for {
					if _, err := conn.Receive(context.Background()); err != nil || conn.Send(context.Background(), answer) != nil {
						return
					}
				}
			})
			return ours, nil
		}
		var err error
		c.relay, err = relay.New(relay.Config{
			To: []mtwire.Endpoint{{Carrier: mtwire.HTTP, Address: "192.0.2.1:80"}}, Dial: &mtwire.DialConfig{DialContext: dial},
			MaxMemory: 3_000_000, MaxUnauthenticated: 64,
		})
		if err != nil {
			t.Fatal(err)
		}
		var clients []*mtwire.Conn
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range 12 { // each has two answers on their way, and eight that wait
			client := c.add(t, "203.0.113.7", true)
			for range 10 {
				client.Send(t.Context(), message(echo, 16))
			}
			synctest.Wait()
			clients = append(clients, client)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 10_000_000 {
			t.Errorf("%d bytes with two limits of 3 MB", grown)
		}
		for _, client := range clients {
			client.Close()
		}
		c.running.Wait()
	})
}
