package handshake

import (
	"context"
	"net"
	"testing"
)

// MatchAllocations returns how often a match of that init payload allocates.
func MatchAllocations(config *Config, auth Auth, payload []byte) float64 {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	h := New(near)
	h.config, h.auth = config, auth
	h.runState = &runState{payload: payload}
	return testing.AllocsPerRun(100, func() {
		if err := h.match(context.Background(), (*Handshake).tryInit); err != nil {
			panic(err)
		}
	})
}

// HasBuffer reports whether h has a buffer from the pool.
func (h *Handshake) HasBuffer() bool { return h.source.Bytes() != nil }
