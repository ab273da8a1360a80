package mtwire_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
)

// network is a DialContext that records the addresses. Those in dead refuse, those in
// alive connect, and all others never answer.
type network struct {
	mu          sync.Mutex
	dialled     []string
	dead, alive []string
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialled = append(n.dialled, address)
	n.mu.Unlock()
	switch {
	case slices.Contains(n.dead, address):
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case slices.Contains(n.alive, address):
		conn, _ := net.Pipe()
		return conn, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// Every address is tried in turn: both families, and then the next port.
func TestDialDCTriesEveryAddress(t *testing.T) {
	for family, want := range map[datacenter.Family]string{
		datacenter.PreferIPv4: "149.154.167.91:443 [2001:67c:4e8:f004::a]:443 149.154.167.91:80 [2001:67c:4e8:f004::a]:80 149.154.167.91:5222 [2001:67c:4e8:f004::a]:5222",
		datacenter.OnlyIPv6:   "[2001:67c:4e8:f004::a]:443 [2001:67c:4e8:f004::a]:80 [2001:67c:4e8:f004::a]:5222",
	} {
		n := &network{dead: strings.Fields(want)}
		_, err := mtwire.DialDC(short(t), 4, &mtwire.DialConfig{DialContext: n.dial, Family: family})
		if got := strings.Join(n.dialled, " "); got != want {
			t.Errorf("%v: dialled %s", family, got)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || !strings.HasPrefix(err.Error(), "DC 4: ") || strings.Count(err.Error(), "refused") != len(n.dead) {
			t.Errorf("%v: %v", family, err)
		}
	}
}

// An address that never answers costs 300 ms, and one that refuses nothing. No
// goroutine is left, or synctest fails the test.
func TestDialDCFailsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{dead: []string{"[2001:67c:4e8:f004::a]:443"}, alive: []string{"149.154.167.91:80"}}
		start := time.Now()
		conn, err := mtwire.DialDC(t.Context(), 4, &mtwire.DialConfig{DialContext: n.dial})
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if took := time.Since(start); took != 300*time.Millisecond || len(n.dialled) != 3 {
			t.Errorf("took %v, for %v", took, n.dialled)
		}
	})
}

// The configured addresses are in place of the table's, also for the media side if it
// has none, and the number is sent as it is.
func TestDialDCUsesConfiguredAddresses(t *testing.T) {
	transports := make(chan mtwire.Transport, 1)
	address := startEcho(t, &mtwire.ListenConfig{Allow: func(tr mtwire.Transport) error { transports <- tr; return nil }}).String()
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing.Close()
	config := &mtwire.DialConfig{DataCenters: map[mtwire.DC][]string{2: {refusing.Addr().String(), address}, 77: {address}}}
	for _, dc := range []mtwire.DC{2, -2, 77} {
		conn, err := mtwire.DialDC(short(t), dc, config)
		if err != nil {
			t.Fatal(err)
		}
		conn.Send(short(t), encrypted(3))
		if _, err := conn.Receive(short(t)); err != nil {
			t.Error(err)
		}
		if got := <-transports; got.DC != dc || !got.Obfuscated {
			t.Errorf("%d: the data centre sees %v of %d", dc, got, got.DC)
		}
		conn.Close()
	}
	for _, ep := range []mtwire.Endpoint{{DC: 6}, {DC: 6, Carrier: mtwire.WebSocket}, {DC: mtwire.DC(datacenter.CDN), Carrier: mtwire.HTTP}} {
		if _, err := mtwire.DialEndpoint(short(t), ep, config); !errors.Is(err, mtwire.ErrUnknownDC) {
			t.Errorf("%+v: %v", ep, err)
		}
	}
	if _, err := mtwire.DialDC(short(t), 2, &mtwire.DialConfig{DataCenters: map[mtwire.DC][]string{2: {"no port"}}}); err == nil {
		t.Error("a bad address was dialled")
	}
}

// WebSocket and HTTPS go to the data centre's host.
func TestDialDCByItsHost(t *testing.T) {
	for carrier, want := range map[mtwire.Carrier]string{mtwire.WebSocket: "venus-1.web.telegram.org:443", mtwire.HTTP: "venus-1.web.telegram.org:443"} {
		n := &network{dead: []string{want}}
		conn, err := mtwire.DialEndpoint(short(t), mtwire.Endpoint{Carrier: carrier, DC: -2}, &mtwire.DialConfig{DialContext: n.dial})
		if err == nil {
			conn.Send(short(t), encrypted(3))
			_, err = conn.Receive(short(t))
			conn.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || len(n.dialled) == 0 || n.dialled[0] != want {
			t.Errorf("%v: dialled %v, %v", carrier, n.dialled, err)
		}
	}
}

// 0 is the number of no data centre, and no address that is missing.
func TestNumberZeroIsNoDataCenter(t *testing.T) {
	for _, dc := range []mtwire.DC{0, 77} {
		if conn, err := mtwire.DialDC(t.Context(), dc, nil); !errors.Is(err, mtwire.ErrUnknownDC) || mtwire.Retryable(err) {
			t.Errorf("%v: %v, %v", dc, conn, err)
		}
	}
}
