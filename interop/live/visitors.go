package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
)

// Visitors are clients that come one after the other.
type Visitors struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu              sync.Mutex
	served, cut     int
	refused, failed error // the first
}

// Visit has clients come to each address all the time, each of which has a packet echoed.
// The caller calls Stop.
func Visit(ctx context.Context, addresses ...string) *Visitors {
	v := &Visitors{}
	ctx, v.stop = context.WithCancel(ctx)
	for i, address := range addresses {
		v.running.Go(func() { v.visit(ctx, address, i) })
	}
	return v
}

func (v *Visitors) visit(ctx context.Context, address string, n int) {
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for ; ctx.Err() == nil; n++ {
		refused, err := visitOnce(ctx, address, modes[n%len(modes)])
		if ctx.Err() != nil {
			return
		}
		v.note(refused, err)
		<-pause.C
	}
}

func (v *Visitors) note(refused bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case err == nil:
		v.served++
	case refused && v.refused == nil:
		v.refused = err
	case !refused:
		v.cut++
		if v.failed == nil {
			v.failed = err
		}
	}
}

// visitOnce returns whether no connection could be had, and the error of a client.
func visitOnce(ctx context.Context, address, mode string) (refused bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return true, err
	}
	defer raw.Close()
	endpoint, err := mtwire.ParseEndpoint("tcp://" + address + "?" + mode)
	if err != nil {
		return false, err
	}
	conn, err := mtwire.Client(ctx, raw, endpoint, nil)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	return false, echo(ctx, conn, 64)
}

// Visits are what has become of the clients.
type Visits struct{ Served, Cut int }

// Stop ends them. The error is that of the first client that got no connection, or that got
// one and was not served although cut is false: a process that ends cuts the handshakes off
// that it has begun.
func (v *Visitors) Stop(cut bool) (Visits, error) {
	v.stop()
	v.running.Wait()
	visits := Visits{v.served, v.cut}
	switch {
	case v.refused != nil:
		return visits, fmt.Errorf("a client is refused: %w", v.refused)
	case v.failed != nil && !cut:
		return visits, fmt.Errorf("a client is cut off: %w", v.failed)
	case v.served == 0:
		return visits, errors.New("no client is served")
	}
	return visits, nil
}

// Served returns the number of clients that have been served.
func (v *Visitors) Served() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.served
}
