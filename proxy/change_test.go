package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// reconfigure puts a changed copy of config in force.
func reconfigure(t *testing.T, p *Proxy, config Config, change func(*Config)) Config {
	t.Helper()
	change(&config)
	if err := p.Reconfigure(config); err != nil {
		t.Fatal(err)
	}
	return config
}

// lastSession returns the report of the session that began last.
func lastSession(p *Proxy) (last Report) {
	var id uint64
	for s := range p.Sessions() {
		if s.ID() > id {
			id, last = s.ID(), s.Report()
		}
	}
	return last
}

// Every field that an operator may choose changes while a session goes on, whose bytes
// come back as they were; and a client that connects afterwards gets the new values.
func TestSessionsGoOnThroughEveryChange(t *testing.T) {
	dc, transports := dataCenter(t)
	other, otherTransports := dataCenter(t)
	hop, _ := startProxy(t, Config{Users: onlyUser(t, mtwiretest.PaddedSecret), DataCenters: allAt(dc)})
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, hop, ln)
	config := Config{
		Users:       []User{user(t, "alice", mtwiretest.PlainSecret)},
		DataCenters: allAt(dc),
	}
	web, own, served := webSite(t, "web.example")
	p, address := startProxy(t, config)
	live := join(t, address, "secret="+mtwiretest.PaddedSecret)
	reached := func(transports <-chan mtwire.Transport) func(*testing.T) {
		return func(t *testing.T) {
			select {
			case <-transports:
			case <-time.After(30 * time.Second):
				t.Error("the data centre was not connected")
			}
		}
	}
	<-transports
	mtproxyLink := strings.Replace("tg://proxy?server=HOST&port=PORT&secret="+mtwiretest.PaddedSecret, "HOST&port=PORT",
		"127.0.0.1&port="+ln.Addr().String()[len("127.0.0.1:"):], 1)
	for _, c := range []struct {
		name   string
		change func(*Config)
		check  func(*testing.T) // after a client has joined
	}{
		{"data centres", func(c *Config) { c.DataCenters = allAt(other) }, reached(otherTransports)},
		{"upstreams", func(c *Config) { c.Upstreams = upstreams(t, mtproxyLink) }, func(t *testing.T) {
			if r := lastSession(p); !strings.HasPrefix(r.Upstream, "mtproxy ") {
				t.Errorf("the upstream is %s", r.Upstream)
			}
			if all := p.Upstreams(); len(all) != 1 || all[0].Upstream == "direct" {
				t.Errorf("%+v", all)
			}
		}},
		{"no upstreams", func(c *Config) { c.Upstreams = nil }, func(t *testing.T) {
			if r := lastSession(p); r.Upstream != "direct" {
				t.Errorf("the upstream is %s", r.Upstream)
			}
		}},
		{"slow mode", func(c *Config) { c.DisableFastMode = true }, nil},
		{"dialling", func(c *Config) {
			c.DialTimeout, c.Family, c.DefaultDC = 30*time.Second, datacenter.PreferIPv6, 4
		}, nil},
		{"limits", func(c *Config) {
			c.MaxUnauthenticated, c.MaxUnauthenticatedPerAddress, c.MaxFronted, c.SearchProcessors = 30, 20, 10, 1
		}, func(t *testing.T) {
			if l := p.Limits(); l.Unauthenticated != 30 || l.PerAddress != 20 || l.Fronted != 10 {
				t.Errorf("%+v", l)
			}
		}},
		{"silence", func(c *Config) { c.KeepAlive, c.PeerTimeout, c.StallTimeout = time.Hour, time.Hour, time.Hour }, func(t *testing.T) {
			if w := p.relay.Load().WriteTimeout; w != time.Hour {
				t.Errorf("the limit of writes is %v", w)
			}
		}},
		{"fronting", func(c *Config) {
			c.Fronts, c.Domain = map[string]Front{"": {Address: dc.String(), ProxyProtocol: ProxyProtocolV2}}, "b.example"
		}, func(t *testing.T) {
			if front := p.FrontingHosts()["b.example"]; front.Address != dc.String() {
				t.Errorf("%+v", p.FrontingHosts())
			}
		}},
		{"web site", func(c *Config) { c.Web = web }, func(t *testing.T) {
			if certificate, _ := browse(t, address, "web.example"); !bytes.Equal(certificate, own) {
				t.Error("the site does not get the client that names it")
			}
		}},
		{"no web site", func(c *Config) { c.Web = nil }, func(t *testing.T) {
			visits := len(served)
			conn, err := net.Dial("tcp", address.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go tls.Client(conn, &tls.Config{ServerName: "web.example"}).Handshake() // until conn is closed
			eventually(t, "the client is tunneled", func() bool { return p.Stats().Fronted == 1 })
			if len(served) != visits {
				t.Error("the site that is gone gets the client that names it")
			}
		}},
		{"clock", func(c *Config) { c.ClockWindow = -1 }, nil},
		{"log", func(c *Config) { c.LogClients, c.DisableConnectionLog = true, true }, nil},
		{"users", func(c *Config) { c.Users = slices.Concat(c.Users, numberedUsers(0, 1, mtproxy.Plain, "")) }, func(t *testing.T) {
			if len(p.Users()) != 2 {
				t.Errorf("%+v", p.Users())
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config = reconfigure(t, p, config, c.change)
			join(t, address, "secret="+mtwiretest.PaddedSecret)
			if c.check != nil {
				c.check(t)
			}
			echo(t, live, 5000)
		})
	}
	if r := p.Stats(); r.Relaying == 0 {
		t.Errorf("%+v", r)
	}
}

// Modes that are not accepted any more are refused to clients that connect, and sessions
// in them go on.
func TestModesAreForNewClients(t *testing.T) {
	inBubble(t, Config{DataCenters: at("echo.test:443")}, map[string]func(net.Conn){"echo.test:443": echoing(100)}, func(t *testing.T, b *bubble) {
		live := b.join(mtwiretest.PlainSecret)
		echo(t, live, 3)
		config := b.settings().Config
		config.Users, config.Modes = []User{*b.Users()[0]}, mtproxy.EE
		if err := b.Reconfigure(config); err != nil {
			t.Fatal(err)
		}
		late := b.join(mtwiretest.PlainSecret)
		late.Send(b.ctx, payload(3))
		synctest.Wait()
		if s := b.Stats(); s.Authenticated != 1 || s.Relaying != 1 || s.Accepted != 2 {
			t.Errorf("%+v", s)
		}
		echo(t, live, 3)
	})
}

// A client that has sent its first byte is authenticated with the settings of that time.
func TestHandshakeKeepsItsSettings(t *testing.T) {
	inBubble(t, Config{DataCenters: at("echo.test:443")}, map[string]func(net.Conn){"echo.test:443": echoing(100)}, func(t *testing.T, b *bubble) {
		client := b.connect()
		init := initOf(t, secretOf(t, mtwiretest.PlainSecret).Key, mtwire.Intermediate)
		client.Write(init[:10])
		synctest.Wait()
		config := b.settings().Config
		config.Users, config.Modes = []User{*b.Users()[0]}, mtproxy.DD
		if err := b.Reconfigure(config); err != nil {
			t.Fatal(err)
		}
		client.Write(init[10:])
		synctest.Wait()
		if s := b.Stats(); s.Authenticated != 1 || s.RefusedMode != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A connection from a load balancer that is trusted now begins with a header, and one
// that has begun before does not.
func TestTrustedProxiesAreForNewConnections(t *testing.T) {
	dc, _ := dataCenter(t)
	config := Config{Users: onlyUser(t, mtwiretest.PlainSecret), DataCenters: allAt(dc)}
	p, address := startProxy(t, config)
	live := join(t, address, "secret="+mtwiretest.PaddedSecret)
	config = reconfigure(t, p, config, func(c *Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?secret="+mtwiretest.PaddedSecret, withHeader(header(2, "192.0.2.5:4321")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echo(t, conn, 3)
	if r := lastSession(p); r.Client != "192.0.2.5:4321" {
		t.Errorf("the client is %s", r.Client)
	}
	reconfigure(t, p, config, func(c *Config) { c.TrustedProxies = nil })
	join(t, address, "secret="+mtwiretest.PaddedSecret)
	echo(t, live, 100)
	echo(t, conn, 100)
}

// Lower limits close the unauthenticated connections that are too many, and no session.
func TestLowerLimitsCloseUnauthenticatedConnections(t *testing.T) {
	config := Config{DataCenters: at("echo.test:443")}
	inBubble(t, config, map[string]func(net.Conn){"echo.test:443": echoing(100)}, func(t *testing.T, b *bubble) {
		live := b.join(mtwiretest.PlainSecret)
		echo(t, live, 3)
		for range 20 {
			b.connect()
		}
		synctest.Wait()
		config := b.settings().Config
		config.Users = []User{*b.Users()[0]}
		config.MaxUnauthenticated, config.MaxUnauthenticatedPerAddress, config.MaxFronted = 10, 7, 0
		if err := b.Reconfigure(config); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := b.Stats(); s.Pending != 7 || s.Evicted != 13 || s.Open != 8 {
			t.Errorf("%+v", s)
		}
		echo(t, live, 3)
	})
}

// A stall that is being waited for is noticed after the new time, and not at all if there
// is none.
func TestStallTimeoutIsForTheNextWait(t *testing.T) {
	for timeout, want := range map[time.Duration]int64{time.Minute: 1, -1: 0} {
		silent := func(conn net.Conn) { io.Copy(io.Discard, conn) }
		inBubble(t, Config{DataCenters: at("silent.test:443"), StallTimeout: 10 * time.Second}, map[string]func(net.Conn){"silent.test:443": silent}, func(t *testing.T, b *bubble) {
			conn := b.join(mtwiretest.PlainSecret)
			conn.Send(b.ctx, payload(3))
			synctest.Wait()
			config := b.settings().Config
			config.Users, config.StallTimeout = []User{*b.Users()[0]}, timeout
			if err := b.Reconfigure(config); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
			if n := b.Stats().Stalls; n != 0 {
				t.Errorf("%v: %d stalls after half a minute", timeout, n)
			}
			time.Sleep(time.Minute)
			if n := b.Stats().Stalls; n != want {
				t.Errorf("%v: %d stalls after a minute and a half", timeout, n)
			}
		})
	}
}

// A configuration with an invalid value is refused as a whole, and so is a change that
// is not applied; what belongs to the program is ignored.
func TestInvalidChangesChangeNothing(t *testing.T) {
	dc, _ := dataCenter(t)
	config := Config{Users: onlyUser(t, mtwiretest.PlainSecret), DataCenters: allAt(dc)}
	p, address := startProxy(t, config)
	live := join(t, address, "secret="+mtwiretest.PaddedSecret)
	before := p.users.Load()
	for name, spoil := range map[string]func(*Config){
		"no users":       func(c *Config) { c.Users = nil },
		"no mode":        func(c *Config) { c.Users = onlyUser(t, mtwiretest.FakeTLSSecret); c.Modes = mtproxy.Classic },
		"data centre":    func(c *Config) { c.DataCenters = at("nowhere") },
		"no address":     func(c *Config) { c.DataCenters = map[datacenter.DC][]string{2: nil} },
		"default":        func(c *Config) { c.DataCenters, c.DefaultDC = nil, 77 },
		"family":         func(c *Config) { c.Family = 99 },
		"trusted":        func(c *Config) { c.TrustedProxies = []netip.Prefix{{}} },
		"front":          func(c *Config) { c.Fronts = map[string]Front{"a.example": {Address: "nowhere"}} },
		"PROXY protocol": func(c *Config) { c.Fronts = map[string]Front{"a.example": {ProxyProtocol: 9}} },
	} {
		next := config
		next.MaxUnauthenticated, next.DialTimeout = 17, 17
		spoil(&next)
		if err := p.Reconfigure(next); err == nil {
			t.Errorf("%s: no error", name)
		}
		if p.users.Load() != before || p.Limits().Unauthenticated == 17 {
			t.Errorf("%s: something has changed", name)
		}
	}
	next := config
	next.MaxUnauthenticated = 17
	next.Permit = func(netip.Addr) error { return errors.New("nobody") }
	change, err := p.Prepare(next)
	if err != nil || p.Limits().Unauthenticated == 17 {
		t.Fatalf("%v, %+v", err, p.Limits())
	}
	change.Apply()
	if p.Limits().Unauthenticated != 17 {
		t.Errorf("%+v", p.Limits())
	}
	join(t, address, "secret="+mtwiretest.PaddedSecret)
	echo(t, live, 3)
}

// A dial in progress ends with the addresses that it began with.
func TestDialsInProgressAreNotInterrupted(t *testing.T) {
	inBubble(t, Config{DataCenters: at("slow.test:443")}, map[string]func(net.Conn){"slow.test:443": echoing(1)}, func(t *testing.T, b *bubble) {
		release := make(chan struct{})
		dial := b.config.DialContext
		b.config.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			<-release
			return dial(ctx, network, address)
		}
		config := b.settings().Config
		config.Users = []User{*b.Users()[0]}
		if err := b.Reconfigure(config); err != nil {
			t.Fatal(err)
		}
		conn := b.join(mtwiretest.PlainSecret)
		conn.Send(b.ctx, payload(3))
		synctest.Wait() // it dials
		config.DataCenters = at("other.test:443")
		if err := b.Reconfigure(config); err != nil {
			t.Fatal(err)
		}
		close(release)
		if p, err := conn.Receive(b.ctx); err != nil || len(p.Payload) == 0 {
			t.Errorf("%v", err)
		}
		if r := lastSession(b.Proxy); r.Address != "slow.test:443" {
			t.Errorf("it is connected to %s", r.Address)
		}
	})
}
