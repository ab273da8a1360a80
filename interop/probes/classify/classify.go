// Package classify is a passive classifier: it records the bytes of browsers at a
// site and of Telegram clients at the proxy in front of it, as an observer on the
// wire sees them, and compares their shapes without a key.
//
//	relay.go     a TCP relay that records
//	hellos.go    the hellos of clients
//	flights.go   a server's answers to these hellos
//	sessions.go  whole sessions: of a browser, and of a Telegram client
//	shape.go     what can be told from a recording
//	rows.go      the comparison, and its table
package classify

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire/interop/probes/probe"
	"github.com/mtwire/mtwire/interop/probes/site"
)

// Run starts a site and a proxy in front of it, and compares them.
func Run(ctx context.Context, mtwire, rustls string, kind site.Kind) ([]Row, error) {
	dc, err := startDataCenter(ctx)
	if err != nil {
		return nil, err
	}
	defer dc.stop()
	s, err := site.Start(ctx, kind, rustls)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	proxy, err := probe.StartProxy(ctx, mtwire, s.Address, dc.address, probe.ModeEE)
	if err != nil {
		return nil, err
	}
	defer proxy.Stop()
	if !probe.AwaitMeasured(ctx, proxy) {
		return nil, fmt.Errorf("the proxy has not measured %s: %s", kind.Name, proxy.Stderr.Text())
	}
	rows, err := compareFlights(ctx, s.Address, proxy.Address)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(proxy.Address)
	if err != nil {
		return nil, err
	}
	pages := []string{site.SmallPage, site.LargePage}
	if kind.Sequential { // it closes each connection after one page
		pages = pages[1:]
	}
	sessions := []struct {
		name, address string
		act           session
	}{
		{"browser with HTTP/1.1", s.Address, browserSession("http/1.1", pages)},
		{"browser with HTTP/2", s.Address, browserSession("h2", pages)},
		{"Telegram client", proxy.Address, telegramSession(host, port)},
	}
	var long, short [3]Shape
	var errs [len(long) + len(short)]error
	var running sync.WaitGroup
	for i, session := range sessions {
		run := func() {
			long[i], errs[i] = record(ctx, session.address, session.act, idleTime)
			short[i], errs[len(long)+i] = record(ctx, session.address, session.act, shortIdleTime)
		}
		if kind.Sequential {
			run()
		} else {
			running.Go(run)
		}
	}
	running.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", sessions[i%len(sessions)].name, err)
		}
	}
	tickets, err := idleRecords(ctx, s.Address)
	if err != nil {
		return nil, err
	}
	rows = append(rows, compareSessions(long[0], long[1], long[2], tickets)...)
	return append(rows, compareCloses(short[0], short[1], short[2])), nil
}

const (
	// idleTime is how long the sessions are idle. It is longer than the sites'
	// timeouts.
	idleTime = 21 * time.Second
	// shortIdleTime is the same for sessions that the client is to close.
	shortIdleTime = time.Second
)
