package faults_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/mtwire/mtwire/proxy"
)

// inANamespace runs a scenario in every mode, with what it needs to dial
// clients behind the hops. Where there are no namespaces it does not; the
// middlebox's scenarios run everywhere.
func inANamespace(t *testing.T, scenario func(t *testing.T, w *lossyWorld, p *proxy.Proxy, dc *loadgen.DataCenter, client func() *loadgen.Client)) {
	inAllModesAtOnce(t, func(t *testing.T, m mode) {
		w := newLossyWorld(t)
		if w == nil {
			return
		}
		host := newFrontingHost(t)
		dc := startDataCenter(t, w.far.b.listen(t, "10.2.0.2:0"))
		p, address := startProxy(t, m, host, proxy.Config{
			DataCenters: map[datacenter.DC][]string{0: {dc.Addr().String()}},
			DialContext: w.far.a.dial,
		}, w.near.b.listen(t, "10.1.0.2:0"))
		scenario(t, w, p, dc, func() *loadgen.Client {
			return mustDial(t, m, address, 2, &mtwire.DialConfig{DialContext: w.clients.dial})
		})
	})
}

// "Loss, delay": with packets lost on both sides of the proxy, nothing that
// moves is lost or reordered.
func TestStreamsOutliveLostPackets(t *testing.T) {
	inANamespace(t, func(t *testing.T, w *lossyWorld, p *proxy.Proxy, dc *loadgen.DataCenter, client func() *loadgen.Client) {
		var clients []*loadgen.Client
		for range 4 {
			clients = append(clients, client())
		}
		for i, h := range []*hop{w.near, w.far} {
			h.delay.Store(int64(time.Duration(5*(i+1)) * time.Millisecond))
			h.loss.Store(15)
		}
		clients = append(clients, client()) // a handshake amid all that
		stream(t, clients, 15)()
		if w.near.lost.Load() == 0 || w.far.lost.Load() == 0 {
			t.Error("no packet was lost")
		}
		t.Logf("%d and %d packets were lost", w.near.lost.Load(), w.far.lost.Load())
		for _, c := range clients {
			c.Close()
		}
		eventually(t, "the proxy lets go of them", func() bool { return p.Stats().Open == 0 && dc.Open() == 0 })
	})
}

// "Cuts": a link that is down for a while costs nobody a byte, on either side.
func TestStreamsOutliveALinkThatIsDown(t *testing.T) {
	inANamespace(t, func(t *testing.T, w *lossyWorld, p *proxy.Proxy, dc *loadgen.DataCenter, client func() *loadgen.Client) {
		var clients []*loadgen.Client
		for range 4 {
			clients = append(clients, client())
		}
		for i, h := range []*hop{w.near, w.far} {
			number := byte(i + 1)
			h.delay.Store(int64(5 * time.Millisecond))
			wait := stream(t, clients, 60)
			time.Sleep(50 * time.Millisecond)
			h.cut(t, number, true)
			time.Sleep(700 * time.Millisecond)
			h.cut(t, number, false)
			wait()
		}
	})
}

// "Cuts": a data centre's network that is gone for good holds up its clients
// only as long as they wait, and the proxy not at all when it is to stop.
func TestNetworkThatIsGoneForGoodHoldsNothingUp(t *testing.T) {
	inANamespace(t, func(t *testing.T, w *lossyWorld, p *proxy.Proxy, dc *loadgen.DataCenter, client func() *loadgen.Client) {
		leaving, staying := client(), client()
		w.far.loss.Store(1000)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var running sync.WaitGroup
		for _, c := range []*loadgen.Client{leaving, staying} {
			running.Go(func() {
				if err := c.Upload(ctx, 200); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("through a network that is gone: %v", err)
				}
			})
		}
		running.Wait()
		leaving.Close()
		w.near.loss.Store(1000) // and the other does not even get to say goodbye
		staying.Close()
	})
}
