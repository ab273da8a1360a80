package attack

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/interop/probes/probe"
	"github.com/mtwire/mtwire/interop/probes/tlswire"
	"github.com/mtwire/mtwire/mtwiretest"
)

const (
	// newcomers is how many of each kind are measured, one every newcomerInterval.
	newcomers        = 40
	newcomerInterval = 50 * time.Millisecond
	// newcomerTimeout bounds the wait of one.
	newcomerTimeout = 10 * time.Second
)

// Waits is how long newcomers of one kind waited.
type Waits struct {
	Kind   string `json:"kind"`
	Served int    `json:"served"` // within newcomerTimeout
	Of     int    `json:"of"`
	// Delays are of the served ones, the shortest first.
	Delays []time.Duration `json:"delays"`
}

// quantile returns the delay within which a part of all newcomers was served, and
// false if they were not.
func (w Waits) quantile(part float64) (time.Duration, bool) {
	i := int(part * float64(w.Of-1))
	if i >= len(w.Delays) {
		return 0, false
	}
	return w.Delays[i], true
}

// measure lets new clients and visitors come, from an address of their own and from
// the attacker's, all kinds at the same time.
func measure(ctx context.Context, proxy string) []Waits {
	kinds := []struct {
		name, from string
		arrive     func(ctx context.Context, from, proxy string, i int) error
	}{
		{"clients", otherAddress, client},
		{"clients-beside", attackerAddress, client},
		{"visitors", otherAddress, visitor},
		{"visitors-beside", attackerAddress, visitor},
	}
	all := make([]Waits, len(kinds))
	var mu sync.Mutex
	var running sync.WaitGroup
	for k, kind := range kinds {
		all[k] = Waits{Kind: kind.name, Of: newcomers}
		for i := range newcomers {
			running.Go(func() {
				sleep(ctx, time.Duration(i)*newcomerInterval)
				ctx, cancel := context.WithTimeout(ctx, newcomerTimeout)
				defer cancel()
				start := time.Now()
				if err := kind.arrive(ctx, kind.from, proxy, i); err != nil {
					return
				}
				took := time.Since(start)
				mu.Lock()
				defer mu.Unlock()
				all[k].Served++
				all[k].Delays = append(all[k].Delays, took)
			})
		}
	}
	running.Wait()
	for _, w := range all {
		slices.Sort(w.Delays)
	}
	return all
}

// client is a Telegram client that connects and gets the answer to one request.
func client(ctx context.Context, from, proxy string, _ int) error {
	conn, err := dial(ctx, from, proxy)
	if err != nil {
		return err
	}
	defer conn.Close()
	host, port, err := net.SplitHostPort(proxy)
	if err != nil {
		return err
	}
	ep, err := mtwire.ParseEndpoint(fmt.Sprintf("tg://proxy?server=%s&port=%s&secret=%s", host, port, probe.Secret))
	if err != nil {
		return err
	}
	c, err := mtwire.Client(ctx, conn, ep, nil)
	if err != nil {
		return err
	}
	var nonce [16]byte
	if err := c.Send(ctx, mtwiretest.AppendReqPQ(nil, nonce, nil)); err != nil {
		return err
	}
	packet, err := c.Receive(ctx)
	if err != nil {
		return err
	}
	return mtwiretest.CheckResPQ(packet.Payload, nonce)
}

// visitor is a browser that connects and gets the first bytes of the site.
func visitor(ctx context.Context, from, proxy string, i int) error {
	conn, err := dial(ctx, from, proxy)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if _, err := conn.Write(probe.VisitorHello(fmt.Sprint(from, i))); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, tlswire.HeaderLength))
	return err
}
