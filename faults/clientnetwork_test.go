package faults_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
)

// clientMiddlebox puts a second middlebox between clients and the proxy. dial
// connects a client through it.
func (tb *testbed) clientMiddlebox(t *testing.T) (front *middlebox, dial func() *loadgen.Client) {
	front = newMiddlebox(t, tb.address)
	return front, func() *loadgen.Client { return mustDial(t, tb.mode, front.address(), 2, nil) }
}

// transfer starts to download packets with all clients, and then to upload as
// many with every other one. wait waits for them and reports their errors.
func transfer(t *testing.T, clients []*loadgen.Client, packets int) (wait func()) {
	var running sync.WaitGroup
	for i, c := range clients {
		running.Go(func() {
			err := c.Download(testContext(t), packets)
			if i%2 == 0 && err == nil {
				err = c.Upload(testContext(t), packets)
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	return running.Wait
}

// transferUntilReset starts to download with two clients and to upload with two
// others. wait waits until their connections break. The data that arrives before
// must be correct.
func transferUntilReset(t *testing.T, dial func() *loadgen.Client) (wait func()) {
	var running sync.WaitGroup
	for i := range 4 {
		c := dial()
		running.Go(func() {
			var err error
			if i%2 == 0 {
				err = c.Download(testContext(t), 1<<20)
			} else {
				err = c.Upload(testContext(t), 1<<20)
			}
			if err == nil || errors.Is(err, loadgen.ErrCorrupt) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	return running.Wait
}

// With delays and stalls on both sides of the proxy, and chunks of any length, no
// data is lost or reordered.
func TestStreamsOutliveDelaysAndStalls(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		tb := newTestbed(t, m, nil)
		front, dial := tb.clientMiddlebox(t)
		front.delay.Store(int64(20 * time.Millisecond))
		front.stalls.Store(40)
		tb.upstream.delay.Store(int64(10 * time.Millisecond))
		tb.upstream.stalls.Store(40)
		var clients []*loadgen.Client
		for range 4 {
			clients = append(clients, dial())
		}
		transfer(t, clients, 15)()
	})
}

// A network that is gone for a while, longer than until an idle connection is
// parked, costs no client a byte.
func TestStreamsOutliveABlackout(t *testing.T) {
	inParallelModes(t, func(t *testing.T, m mode) {
		tb := newTestbed(t, m, nil)
		front, dial := tb.clientMiddlebox(t)
		var clients []*loadgen.Client
		for range 4 {
			clients = append(clients, dial())
		}
		for _, box := range []*middlebox{front, tb.upstream} {
			wait := transfer(t, clients, 60)
			box.freeze()
			time.Sleep(time.Second)
			box.thaw()
			wait()
		}
	})
}

// Resets between clients and proxy end both sides of their connections.
func TestResetsBetweenClientsAndProxyEndBothSides(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		tb := newTestbed(t, m, nil)
		front, dial := tb.clientMiddlebox(t)
		for range 2 {
			wait := transferUntilReset(t, dial)
			tb.client(2).Close() // during the transfers
			front.reset()
			wait()
		}
	})
}
