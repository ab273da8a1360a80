package faults_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
)

// behind puts a second middlebox in front of the proxy.
func (w *world) behind(t *testing.T) (front *middlebox, dial func() *loadgen.Client) {
	front = newMiddlebox(t, w.address)
	return front, func() *loadgen.Client { return mustDial(t, w.mode, front.address(), 2, nil) }
}

// stream has clients move data both ways at once, and checks all of it.
func stream(t *testing.T, clients []*loadgen.Client, packets int) (wait func()) {
	var running sync.WaitGroup
	for i, c := range clients {
		running.Go(func() {
			err := c.Download(limited(t), packets)
			if i%2 == 0 && err == nil {
				err = c.Upload(limited(t), packets)
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	return running.Wait
}

// breakOff has four clients move data, two each way, until their connections
// break. What arrives until then must be what was sent.
func breakOff(t *testing.T, dial func() *loadgen.Client) (wait func()) {
	var running sync.WaitGroup
	for i := range 4 {
		c := dial()
		running.Go(func() {
			var err error
			if i%2 == 0 {
				err = c.Download(limited(t), 1<<20)
			} else {
				err = c.Upload(limited(t), 1<<20)
			}
			if err == nil || errors.Is(err, loadgen.ErrCorrupt) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	return running.Wait
}

// "Loss, delay": nothing is lost or reordered, whatever arrives late and in
// whatever pieces.
func TestStreamsOutliveDelaysAndStalls(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		w := newWorld(t, m, nil)
		front, dial := w.behind(t)
		front.delay.Store(int64(20 * time.Millisecond))
		front.stalls.Store(40)
		w.upstream.delay.Store(int64(10 * time.Millisecond))
		w.upstream.stalls.Store(40)
		var clients []*loadgen.Client
		for range 4 {
			clients = append(clients, dial())
		}
		stream(t, clients, 15)()
	})
}

// "Cuts": a network that is gone for a while, longer than until an idle
// connection is parked, costs nobody a byte.
func TestStreamsOutliveABlackout(t *testing.T) {
	inAllModesAtOnce(t, func(t *testing.T, m mode) {
		w := newWorld(t, m, nil)
		front, dial := w.behind(t)
		var clients []*loadgen.Client
		for range 4 {
			clients = append(clients, dial())
		}
		for _, box := range []*middlebox{front, w.upstream} {
			wait := stream(t, clients, 60)
			box.freeze()
			time.Sleep(2500 * time.Millisecond)
			box.thaw()
			wait()
		}
	})
}

// "Cuts": with resets on the client's side, all of which ends soon.
func TestCutsBetweenClientsAndProxyEndBothSides(t *testing.T) {
	inEveryMode(t, func(t *testing.T, m mode) {
		w := newWorld(t, m, nil)
		front, dial := w.behind(t)
		for range 2 {
			wait := breakOff(t, dial)
			w.client(2).Close() // while it all moves
			front.reset()
			wait()
		}
	})
}
