package route

import (
	"context"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
)

// network is a fake network with a behaviour for each address. It is for synctest,
// in which delays take no time and a goroutine that outlives Dial fails the test.
type network struct {
	mu     sync.Mutex
	delay  map[string]time.Duration // before a connection is accepted; default 0
	dead   map[string]bool          // refuses connections
	hole   map[string]bool          // never replies
	dialed []string
	open   int // connections that are not closed
}

func (n *network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, address)
	dead, hole, delay := n.dead[address], n.hole[address], n.delay[address]
	n.mu.Unlock()
	if hole {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if dead {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	near, _ := net.Pipe()
	n.mu.Lock()
	n.open++
	n.mu.Unlock()
	return &countedConn{Conn: near, network: n}, nil
}

// countedConn is counted in network.open until it is closed.
type countedConn struct {
	net.Conn
	network *network
	once    sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() {
		c.network.mu.Lock()
		c.network.open--
		c.network.mu.Unlock()
	})
	return c.Conn.Close()
}

// dial makes one connection and closes it. It returns the connection's address, all
// addresses that were dialled, and the duration.
func (n *network) dial(t *testing.T, r *Router, dc datacenter.DC) (address string, dialed []string, took time.Duration) {
	t.Helper()
	n.dialed = nil
	start := time.Now()
	upstream, err := r.Dial(t.Context(), Request{DC: dc, Protocol: frame.Abridged})
	took = time.Since(start)
	if err != nil {
		t.Fatal(err)
	}
	if n.open != 1 {
		t.Errorf("%d connections are open", n.open)
	}
	upstream.Close()
	return upstream.Address, n.dialed, took
}

// expect checks that got is want.
func expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
