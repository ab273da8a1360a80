package probe

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mtwire/mtwire/interop/probes/tlswire"
)

// The names of the checks.
const (
	crowdName   = "many/hellos-at-once"
	restartName = "many/replay-after-restart"
)

// crowdSize is the number of visitors that come at one time.
const crowdSize = 200

// crowd compares how long the visitors of a crowd wait for the first byte. The proxy
// must be new: what it has learned of the site changes the result.
func (r *Runner) crowd(ctx context.Context, e *environment, mode Mode) (kinds []Kind, details []string, site, proxy Observation) {
	atSite := crowdDelays(ctx, e.site.Address)
	server, err := r.startProxy(ctx, e, mode)
	if err != nil {
		proxy.Error = err.Error()
		return []Kind{KindError}, []string{err.Error()}, site, proxy
	}
	defer server.Stop()
	AwaitMeasured(ctx, server)
	atProxy := crowdDelays(ctx, server.Address)
	kinds, details = compareCrowds(atSite, atProxy)
	site.Transcript, proxy.Transcript = describeCrowd(atSite), describeCrowd(atProxy)
	return kinds, details, site, proxy
}

// compareCrowds compares the times until the visitors were answered, shortest first.
// Visitor n at the proxy is compared with visitor n at the site.
func compareCrowds(site, proxy []time.Duration) (kinds []Kind, details []string) {
	if len(site) != len(proxy) {
		return []Kind{KindBytes}, []string{fmt.Sprintf("the site answered %d of %d, through the proxy %d", len(site), crowdSize, len(proxy))}
	}
	late := 0
	for i := range site {
		if proxy[i]-site[i] > tolerance {
			late++
		}
	}
	if late > 0 {
		return []Kind{KindTime}, []string{fmt.Sprintf("%d of %d are answered more than %v later", late, crowdSize, tolerance)}
	}
	return nil, nil
}

func describeCrowd(delays []time.Duration) string {
	if len(delays) == 0 {
		return "no answers"
	}
	return fmt.Sprintf("%d answers, half of them within %.2f s, all within %.2f s", len(delays),
		delays[len(delays)/2].Seconds(), delays[len(delays)-1].Seconds())
}

// crowdDelays connects all visitors, sends all hellos at one time, and returns the
// times until their first bytes, the shortest first.
func crowdDelays(ctx context.Context, address string) (delays []time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}()
	for range crowdSize {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil
		}
		deadline, _ := ctx.Deadline()
		conn.SetDeadline(deadline)
		conns = append(conns, conn)
	}
	var mu sync.Mutex
	var running sync.WaitGroup
	for i, conn := range conns {
		running.Go(func() {
			hello := newHello(fmt.Sprint("crowd ", i)).bytes()
			start := time.Now()
			if _, err := conn.Write(hello); err != nil {
				return
			}
			if _, err := io.ReadFull(conn, make([]byte, tlswire.HeaderLength)); err == nil {
				mu.Lock()
				defer mu.Unlock()
				delays = append(delays, time.Since(start))
			}
		})
	}
	running.Wait()
	slices.Sort(delays)
	return delays
}
