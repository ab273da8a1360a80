//go:build !race

package mtwire_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Send and Receive do not allocate over TCP, in every framing, in clear and obfuscated.
// The race detector makes sync.Pool drop buffers at random, so the test needs a build
// without it.
func TestPacketsDoNotAllocate(t *testing.T) {
	for _, m := range mtwiretest.DirectModes() {
		ep, err := mtwire.ParseEndpoint(fmt.Sprintf(m.URL, "127.0.0.1:1"))
		if err != nil {
			t.Fatal(err)
		}
		if ep.Carrier != mtwire.TCP {
			continue
		}
		for _, size := range []int{88, 1048, 65560} {
			t.Run(fmt.Sprint(m.Transport, " ", size), func(t *testing.T) {
				server, socket := serve(t, &mtwire.ListenConfig{ObfuscatedFull: true})
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				client, err := mtwire.Client(ctx, socket, ep, &mtwire.DialConfig{ObfuscatedFull: true})
				if err != nil {
					t.Fatal(err)
				}
				payload := encrypted((size - 24) / 16)
				exchange := func() {
					if err := client.Send(ctx, payload); err != nil {
						t.Fatal(err)
					}
					p, err := server.Receive(ctx)
					if err != nil || len(p.Payload) != len(payload) {
						t.Fatal(len(p.Payload), err)
					}
					if err := server.Send(ctx, p.Payload); err != nil {
						t.Fatal(err)
					}
					if _, err := client.Receive(ctx); err != nil {
						t.Fatal(err)
					}
				}
				for range 20 {
					exchange()
				}
				n := testing.AllocsPerRun(100, exchange)
				for range 10 { // goroutines of other tests may still end, and allocate
					if n > 0 {
						n = testing.AllocsPerRun(100, exchange)
					}
				}
				if n > 0 {
					t.Errorf("%v allocations in an exchange", n)
				}
			})
		}
	}
}
