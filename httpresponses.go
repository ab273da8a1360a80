package mtwire

import (
	"context"
	"sync"

	"github.com/mtwire/mtwire/httpconn"
)

// httpClient is an httpconn.Client whose responses have a share of a PacketMemory.
type httpClient struct {
	*httpconn.Client
	responses *responses
}

func (c *httpClient) Receive(ctx context.Context) ([]byte, error) {
	packet, err := c.Client.Receive(ctx)
	if err != nil && c.responses.memory.evicted.Load() {
		return nil, receiveError(ErrPacketMemory)
	}
	return packet, err
}

func (c *httpClient) Close() error {
	defer c.responses.memory.close()
	return c.Client.Close()
}

// responses is the memory for the responses that have arrived at an HTTP client, in part or
// whole, and that Receive has not returned. All of them together are charged as one packet.
type responses struct {
	client *httpconn.Client
	memory incomplete

	mu   sync.Mutex
	size int
}

func newResponses(memory *PacketMemory) *responses {
	return &responses{memory: incomplete{limits: &packetLimits{memory: memory}}}
}

// reserve charges change bytes more. If the memory has none, the connection ends.
func (r *responses) reserve(change int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.size += change
	err := r.memory.resize(r.size, nil, r.evict)
	if err != nil && change > 0 {
		r.size -= change
		r.evict()
		return err
	}
	return nil
}

// evict closes the client, which waits for its requests, one of which may have called.
func (r *responses) evict() {
	if !r.memory.evicted.Swap(true) {
		go r.client.Close()
	}
}
