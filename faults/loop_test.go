package faults_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/mtwire/mtwire/proxy"
)

// loopOf starts n proxies, each of which has the next as its upstream, and the last
// the first. between may put something in front of each. The first has the others
// of its upstreams in more.
func loopOf(t *testing.T, m mode, dc *loadgen.DataCenter, n int, between func(address string) string, more ...string) (proxies []*proxy.Proxy, address string) {
	t.Helper()
	host := newFrontingHost(t)
	var listeners []net.Listener
	for range n {
		listeners = append(listeners, listen(t))
	}
	for i, ln := range listeners {
		links := []string{linkTo(between(listeners[(i+1)%n].Addr().String()), m.secret)}
		if i == 0 {
			links = append(links, more...)
		}
		config := oneDataCenter(dc)
		for _, link := range links {
			upstream, err := proxy.ParseUpstream(link)
			if err != nil {
				t.Fatal(err)
			}
			config.Upstreams = append(config.Upstreams, upstream)
		}
		p, _ := startProxy(t, m, host, config, ln)
		proxies = append(proxies, p)
	}
	return proxies, listeners[0].Addr().String()
}

// loops are what a connection passes on its way back to the proxy.
var loops = map[string]struct {
	proxies int
	between func(t *testing.T, address string) string
}{
	"itself":      {1, func(_ *testing.T, address string) string { return address }},
	"a forwarder": {1, func(t *testing.T, address string) string { return newMiddlebox(t, address).address() }},
	"two others":  {3, func(_ *testing.T, address string) string { return address }},
}

// A proxy whose upstream leads back to it serves all clients by another upstream, and
// makes a few connections too many at most, however many clients come at once.
func TestLoopBesideAnotherUpstreamFailsNoClient(t *testing.T) {
	for name, loop := range loops {
		t.Run(name, func(t *testing.T) {
			inEveryMode(t, func(t *testing.T, m mode) {
				warmUp()
				checkLeaks(t)
				dc := startDataCenter(t, listen(t))
				proxies, address := loopOf(t, m, dc, loop.proxies, func(a string) string { return loop.between(t, a) }, "direct")
				const clients = 40
				late := lateness(t)
				var all sync.WaitGroup
				for range clients {
					all.Go(func() {
						c, err := dial(testContext(t), m, address, 2, nil)
						if err != nil {
							t.Error(err)
							return
						}
						defer c.Close()
						if err := c.Download(testContext(t), 3); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				for i, p := range proxies {
					if n := p.Stats().Accepted; n > 2*clients {
						t.Errorf("%d connections at number %d", n, i)
					}
				}
				// None has come back, or been seen to, if all have reached the data centre earlier, on a
				// slow machine.
				by := late()
				if s := proxies[0].Stats(); s.Loops < min(1, s.Accepted-clients) && by < 200*time.Millisecond || s.Loops > clients {
					t.Errorf("%d loops of %d connections; the machine was late by %v", s.Loops, s.Accepted, by)
				}
			})
		})
	}
}

// A loop without another upstream ends each client's connection after one turn, and
// leaves nothing behind.
func TestLoopAloneEndsItsClients(t *testing.T) {
	for name, loop := range loops {
		t.Run(name, func(t *testing.T) {
			inEveryMode(t, func(t *testing.T, m mode) {
				warmUp()
				checkLeaks(t)
				dc := startDataCenter(t, listen(t))
				proxies, address := loopOf(t, m, dc, loop.proxies, func(a string) string { return loop.between(t, a) })
				const clients = 10
				for range clients {
					ctx, cancel := context.WithTimeout(testContext(t), 30*time.Second)
					if c, err := dial(ctx, m, address, 2, nil); err == nil {
						c.Close()
						t.Error("a client was served")
					} else if ctx.Err() != nil {
						t.Error("the client's connection was not ended")
					}
					cancel()
				}
				for i, p := range proxies {
					eventually(t, "all sessions end", func() bool { return p.Stats().Open == 0 })
					if n := p.Stats().Accepted; n > 2*clients {
						t.Errorf("%d connections at number %d", n, i)
					}
				}
			})
		})
	}
}
