// Package attack measures what connections without a secret take away from others:
// how long new clients and visitors wait while one address holds connections, and
// what they cost the proxy. Everything is on loopback.
//
//	attack.go     scenarios, and what is measured
//	attacker.go   the connections of the attacker
//	others.go     clients with the secret, and visitors of the site
//	figures.go    verdicts and the table
package attack

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/mtwire/mtwire/interop/probes/probe"
	"github.com/mtwire/mtwire/interop/probes/site"
	"github.com/mtwire/mtwire/interop/process"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Config configures a run.
type Config struct {
	Mtwire string // binary of the proxy
	// Held is the number of connections that the attacker holds.
	Held int
	// Secrets is the number of secrets that the proxy has, 0 for one.
	Secrets int
	// Only has the names of the scenarios to run, patterns as of known
	// differences. Empty: all.
	Only string
	Log  func(format string, args ...any)
}

// Addresses of the attacker and of others. Networks differ in all prefixes that a
// proxy may count by.
const (
	attackerAddress = "127.10.0.1"
	otherAddress    = "127.20.0.1"
)

// scenario is what the attacker does.
type scenario struct {
	name string
	// open opens one of the connections, from the address. nil: none.
	open func(ctx context.Context, a *attacker, i int) (net.Conn, error)
	// rate is the number of connections in a second that come in addition, and
	// are not held, each from one of 16 addresses.
	rate int
}

func scenarios() []scenario {
	return []scenario{
		{name: "none"},
		{name: "silent", open: openSilent},
		{name: "one-byte", open: openOneByte},
		{name: "half-hello", open: openHalfHello},
		{name: "fronted", open: openFronted},
		{name: "answered", open: openAnswered},
		{name: "hellos-of-16k", rate: 64},
	}
}

// Run runs the scenarios one after the other, each with a new proxy.
func Run(ctx context.Context, c Config) (all []Figures, err error) {
	front, err := startFront()
	if err != nil {
		return nil, err
	}
	defer front.Close()
	dc := mtwiretest.NewDataCenter(nil)
	defer dc.Close()
	for _, s := range scenarios() {
		if c.Only != "" && !probe.Matches(c.Only, s.name) {
			continue
		}
		c.Log("%s", s.name)
		f, err := c.run(ctx, s, front.Addr().String(), dc.Addr().String())
		if err != nil {
			return all, fmt.Errorf("%s: %w", s.name, err)
		}
		all = append(all, f)
	}
	return all, nil
}

// settleTime is how long after the attack the memory is measured.
const settleTime = 15 * time.Second

func (c *Config) run(ctx context.Context, s scenario, front, dc string) (f Figures, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	proxy, err := c.startProxy(ctx, front, dc)
	if err != nil {
		return f, err
	}
	defer proxy.Stop()
	if !probe.AwaitMeasured(ctx, proxy) {
		return f, fmt.Errorf("the proxy has not measured its site: %s", proxy.Stderr.Text())
	}
	f.Scenario = s.name
	if f.Before, err = proxy.Resources(); err != nil {
		return f, err
	}
	a := &attacker{proxy: proxy.Address}
	if s.open != nil {
		f.Held, err = a.hold(ctx, s, c.Held)
		if err != nil {
			return f, err
		}
	}
	if s.rate > 0 {
		stop := a.flood(ctx, s.rate)
		defer stop()
		time.Sleep(2 * time.Second)
	}
	f.Waits = measure(ctx, proxy.Address)
	if f.During, err = proxy.Resources(); err != nil {
		return f, err
	}
	f.Alive = a.alive()
	a.close()
	if s.open != nil {
		sleep(ctx, settleTime)
	}
	f.After, err = proxy.Resources()
	return f, err
}

// startProxy starts a proxy whose last secret is the clients'.
func (c *Config) startProxy(ctx context.Context, front, dc string) (*process.Server, error) {
	var more []string
	for i := 1; i < c.Secrets; i++ {
		more = append(more, "--secret", fmt.Sprintf("ee%032x%x", i, site.Domain))
	}
	return probe.StartProxy(ctx, c.Mtwire, front, dc, probe.ModeEE, append(more, "--log-json")...)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// startFront starts a TLS host without timeouts.
func startFront() (net.Listener, error) {
	server, _, err := mtwiretest.Certificate()
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				// Handshake, until the peer goes.
				tls.Server(conn, server).Handshake()
				conn.Read(make([]byte, 1))
			}()
		}
	}()
	return ln, nil
}
