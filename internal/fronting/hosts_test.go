package fronting

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/faketls"
)

// A host has a domain of its own and an address of the form host:port. The
// default address is the domain, port 443.
func TestHostsAreChecked(t *testing.T) {
	for _, hosts := range [][]Host{
		{{Domain: "", Address: "127.0.0.1:443"}},
		{{Domain: "a.example", Address: "127.0.0.1"}},
		{{Domain: "a.example"}, {Domain: "A.EXAMPLE"}},
	} {
		if _, err := New(Config{Hosts: hosts}); err == nil {
			t.Errorf("New accepts %v", hosts)
		}
	}
	p, err := New(Config{Hosts: []Host{{Domain: "a.example"}}})
	if err != nil || only(p).Address != "a.example:443" {
		t.Errorf("%v, %v", p, err)
	}
}

// The server name in the first bytes chooses the host, whatever its case. The
// first host is for clients that name no known domain.
func TestServerNameChoosesTheHost(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{
		{Domain: "A.example", Address: serve(t, echo("a"))},
		{Domain: "b.example", Address: serve(t, echo("b"))},
	}})
	for name, want := range map[string]string{"a.example": "a", "B.EXAMPLE": "b", "c.example": "a", "": "a"} {
		client, server := pair(t)
		var first []byte
		if name != "" {
			first = helloFor(t, name)
		}
		done := start(t, func() (Result, error) { return p.Tunnel(t.Context(), server, Client{}, first) })
		expect(t, client, want)
		client.Close()
		<-done
	}
}

// A pool may begin without hosts. Its clients get no answer until it has some.
func TestPoolMayBeEmptyAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := inMemory(t, func(conn net.Conn) { io.WriteString(conn, "hello") })
		if err := p.SetHosts(nil); err != nil || !p.Empty() {
			t.Fatalf("empty: %v, %v", p.Empty(), err)
		}
		client, server := net.Pipe()
		begin := time.Now()
		if _, err := p.Tunnel(t.Context(), server, Client{}, nil); err != errNoHost || time.Since(begin) < 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		expectEnd(t, client)
		if shape := shapeFor(t, p, "a.example"); shape != (faketls.ServerHelloShape{}) {
			t.Errorf("%+v", shape)
		}
		if err := p.SetHosts([]Host{{Domain: "a.example"}}); err != nil || p.Empty() {
			t.Fatalf("empty: %v, %v", p.Empty(), err)
		}
		client, server = net.Pipe()
		defer client.Close()
		start(t, func() (Result, error) { return p.Tunnel(t.Context(), server, Client{}, nil) })
		expect(t, client, "hello")
	})
}

// After SetHosts new clients get the new host. A tunnel to a removed host goes
// on.
func TestTunnelsToRemovedHostsGoOn(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, echo("a"))}}})
	before, done := tunneled(t, p)
	expect(t, before, "a")
	if err := p.SetHosts([]Host{{Domain: "b.example", Address: serve(t, echo("b"))}}); err != nil {
		t.Fatal(err)
	}
	after, _ := tunneled(t, p)
	expect(t, after, "b")
	send(t, before, "still here")
	expect(t, before, "still here")
	before.CloseWrite()
	expectEnd(t, before)
	if got := <-done; got != (outcome{Result{"a.example", 10, 11}, nil}) {
		t.Errorf("%+v", got)
	}
}

// A preconnected client of a removed host gets that host's greeting, also if the
// client names the host's domain and that has another address now.
func TestPreconnectedClientKeepsARemovedHost(t *testing.T) {
	hello := helloFor(t, "a.example")
	for name, hosts := range map[string][]Host{
		"no host":         nil,
		"another host":    {{Domain: "b.example", Address: serve(t, echo("b"))}},
		"another address": {{Domain: "a.example", Address: serve(t, echo("b"))}},
	} {
		for _, first := range [][]byte{nil, hello} {
			p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, echo("a"))}}})
			c := preconnect(t, p)
			wait(t, c)
			if err := p.SetHosts(hosts); err != nil {
				t.Fatal(err)
			}
			client, server := pair(t)
			done := start(t, func() (Result, error) { return c.Tunnel(context.Background(), server, first) })
			expect(t, client, "a"+string(first))
			client.Close()
			if got := <-done; got.Domain != "a.example" {
				t.Errorf("%s: tunneled to %q", name, got.Domain)
			}
		}
	}
}

// A host that stays keeps its measurements and what was learnt about it, in any
// order and case. With another address it is another host.
func TestHostThatStaysKeepsWhatIsKnown(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example"}}})
	a, shape := only(p), faketls.ServerHelloShape{DataSize: 1234}
	measured(t, p, "a.example", shape)
	a.isProxy = true
	if err := p.SetHosts([]Host{{Domain: "b.example"}, {Domain: "A.EXAMPLE", Address: "a.example:443"}}); err != nil {
		t.Fatal(err)
	}
	if got := shapeFor(t, p, "a.example"); got != shape || p.choose("a.example") != a || shapeFor(t, p, "") == shape {
		t.Errorf("%+v", got)
	}
	if err := p.SetHosts([]Host{{Domain: "a.example", Address: "127.0.0.1:443"}}); err != nil {
		t.Fatal(err)
	}
	if got := shapeFor(t, p, "a.example"); got == shape || only(p).isProxy {
		t.Errorf("another address has the first one's measurements: %+v", got)
	}
}

// A list that SetHosts rejects changes nothing.
func TestRejectedHostsChangeNothing(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example"}, {Domain: "b.example"}}})
	before := p.hosts.Load()
	for _, last := range []Host{{Domain: "c.example"}, {Domain: ""}, {Domain: "d.example", Address: "nowhere"}} {
		if err := p.SetHosts([]Host{{Domain: "c.example"}, last}); err == nil {
			t.Errorf("SetHosts accepts %v", last)
		}
	}
	select {
	case <-before.replaced:
		t.Error("the hosts were replaced")
	default:
	}
	if p.hosts.Load() != before {
		t.Error("the hosts are others")
	}
}

// counted is a network of TLS hosts that counts the connections to each address.
type counted struct {
	mu      sync.Mutex
	visits  map[string]int
	running sync.WaitGroup
}

func (c *counted) take(address string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.visits[address]
	c.visits[address] = 0
	return n
}

// While Run is running, SetHosts has new hosts probed, removed ones no longer,
// and those that stay at the same times as before. A probe of a removed host ends.
func TestRunProbesTheHostsOfSetHosts(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	synctest.Test(t, func(t *testing.T) {
		network := &counted{visits: make(map[string]int)}
		var gone error
		p, log := newPool(t, Config{
			Hosts: []Host{{Domain: "a.example"}, {Domain: "b.example"}},
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				network.mu.Lock()
				network.visits[address]++
				network.mu.Unlock()
				if address == "slow.example:443" {
					<-ctx.Done()
					gone = context.Cause(ctx)
					return nil, gone
				}
				client, server := net.Pipe()
				network.running.Go(func() {
					defer server.Close()
					serveTLS(server, config)
				})
				return client, nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		check := func(when string, want map[string]int) {
			t.Helper()
			for _, address := range []string{"a.example:443", "b.example:443", "c.example:443"} {
				if n := network.take(address); n != want[address] {
					t.Errorf("%s: %d probes of %s, want %d", when, n, address, want[address])
				}
			}
		}
		time.Sleep(time.Minute)
		check("first round", map[string]int{"a.example:443": connectionsPerRound, "b.example:443": connectionsPerRound})

		if err := p.SetHosts([]Host{{Domain: "c.example"}, {Domain: "b.example"}, {Domain: "slow.example"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * maxFirstDelay)
		if err := p.SetHosts([]Host{{Domain: "c.example"}, {Domain: "b.example"}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if network.take("slow.example:443") != 1 || gone != context.Canceled {
			t.Errorf("the probe of a removed host goes on: %v", gone)
		}
		time.Sleep(time.Minute)
		check("after SetHosts", map[string]int{"c.example:443": connectionsPerRound})
		if shapeFor(t, p, "c.example").DataSize == 0 {
			t.Error("the new host is not measured")
		}
		time.Sleep(roundInterval * 3 / 2)
		check("second round", map[string]int{"b.example:443": connectionsPerRound, "c.example:443": connectionsPerRound})
		if log.String() == "" {
			t.Error("no measurement is logged")
		}

		if err := p.SetHosts(nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		check("without hosts", nil)
		cancel()
		if err := <-done; err != context.Canceled {
			t.Error(err)
		}
		network.running.Wait()
	})
}

// Methods may be called concurrently.
func TestHostsAreReplacedWhileClientsCome(t *testing.T) {
	p, _ := newPool(t, Config{})
	address := serve(t, echo("hello"))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	for _, domain := range []string{"a.example", "b.example"} {
		running.Go(func() {
			for ctx.Err() == nil {
				if err := p.SetHosts([]Host{{Domain: domain, Address: address}}); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	for p.Empty() {
		time.Sleep(time.Millisecond)
	}
	for range 50 {
		client, done := tunneled(t, p)
		expect(t, client, "hello")
		client.Close()
		<-done
		shapeFor(t, p, "a.example")
	}
	cancel()
	running.Wait()
}
