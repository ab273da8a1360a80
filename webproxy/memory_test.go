//go:build linux

package webproxy

import (
	"context"
	"crypto/tls"
	"net"
	"runtime"
	"runtime/debug"
	"testing"
)

// inUse returns the bytes of the heap and the stacks.
func inUse() uint64 {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// An idle stream takes 8 KiB at most, whatever its carrier is.
func TestAnIdleStreamIsSmall(t *testing.T) {
	for _, carrier := range []Carrier{HTTPS, HTTPSLanes} {
		h := newHandler(t, carrier, func(c *ServerConfig) { c.Limits.StreamsPerMinute = 1 << 20 })
		const sessions, streams = 40, 12
		before := inUse()
		for range sessions {
			token := h.session()
			for id := uint32(1); id <= streams; id++ {
				if carrier == HTTPS {
					h.up(token, int(id), batch(open(id)))
				} else {
					h.up(token, 1, batch(open(id)), headerLane, string(appendDecimal(id)))
				}
			}
		}
		if h.Stats().Streams != sessions*streams {
			t.Fatal(h.Stats())
		}
		each := int64(inUse()-before) / (sessions * streams)
		t.Logf("%v: %d bytes for a stream", carrier, each)
		if each > 8<<10 {
			t.Errorf("%v: an idle stream takes %d bytes", carrier, each)
		}
		runtime.KeepAlive(h)
	}
}

// remote returns a config that connects to the relay at an address of another
// process, whatever its certificate is.
func remote(address string) *DialConfig {
	return &DialConfig{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
}
