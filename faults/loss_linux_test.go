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

// inNamespaces runs a scenario in every mode. client dials from behind the hops.
// On a system without network namespaces the scenario does not run; those with a
// middlebox do.
func inNamespaces(t *testing.T, scenario func(t *testing.T, nets *lossyNetworks, p *proxy.Proxy, dc *loadgen.DataCenter, client func() *loadgen.Client)) {
	inParallelModes(t, func(t *testing.T, m mode) {
		nets := newLossyNetworks(t)
		if nets == nil {
			return
		}
		host := newFrontingHost(t)
		dc := startDataCenter(t, nets.far.b.listen(t, "10.2.0.2:0"))
		p, address := startProxy(t, m, host, proxy.Config{
			DataCenters: map[datacenter.DC][]string{0: {dc.Addr().String()}},
			DialContext: nets.far.a.dial,
		}, nets.near.b.listen(t, "10.1.0.2:0"))
		scenario(t, nets, p, dc, func() *loadgen.Client {
			return mustDial(t, m, address, 2, &mtwire.DialConfig{DialContext: nets.clients.dial})
		})
	})
}

// With packet loss and delay on both sides of the proxy, no data is lost or
// reordered.
func TestStreamsOutliveLostPackets(t *testing.T) {
	inNamespaces(t, func(t *testing.T, nets *lossyNetworks, p *proxy.Proxy, dc *loadgen.DataCenter, client func() *loadgen.Client) {
		var clients []*loadgen.Client
		for range 4 {
			clients = append(clients, client())
		}
		for i, h := range []*hop{nets.near, nets.far} {
			h.delay.Store(int64(time.Duration(5*(i+1)) * time.Millisecond))
			h.loss.Store(15)
		}
		clients = append(clients, client()) // a handshake with loss
		transfer(t, clients, 15)()
		if nets.near.lost.Load() == 0 || nets.far.lost.Load() == 0 {
			t.Error("no packet was lost")
		}
		t.Logf("%d and %d packets were lost", nets.near.lost.Load(), nets.far.lost.Load())
		for _, c := range clients {
			c.Close()
		}
		eventually(t, "the proxy closes them", func() bool { return p.Stats().Open == 0 && dc.Open() == 0 })
	})
}

// A link that is down for a while, on either side, costs no client a byte.
func TestStreamsOutliveALinkThatIsDown(t *testing.T) {
	inNamespaces(t, func(t *testing.T, nets *lossyNetworks, p *proxy.Proxy, dc *loadgen.DataCenter, client func() *loadgen.Client) {
		var clients []*loadgen.Client
		for range 4 {
			clients = append(clients, client())
		}
		for i, h := range []*hop{nets.near, nets.far} {
			number := byte(i + 1)
			h.delay.Store(int64(5 * time.Millisecond))
			wait := transfer(t, clients, 60)
			time.Sleep(50 * time.Millisecond)
			h.cut(t, number)
			time.Sleep(700 * time.Millisecond)
			h.restore(t, number)
			wait()
		}
	})
}

// When a data centre's network is gone for good, a client can end its wait at any
// time, and the proxy's shutdown does not wait.
func TestNetworkThatIsGoneForGoodDelaysNoShutdown(t *testing.T) {
	inNamespaces(t, func(t *testing.T, nets *lossyNetworks, p *proxy.Proxy, dc *loadgen.DataCenter, client func() *loadgen.Client) {
		leaving, staying := client(), client()
		nets.far.loss.Store(1000)
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
		nets.near.loss.Store(1000) // the other client's FIN is lost
		staying.Close()
	})
}
