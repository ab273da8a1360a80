package faults_test

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
)

var (
	soakTime = flag.Duration("soak", 3*time.Second, "how long the soak attacks the proxy")
	soakSeed = flag.Uint64("soak.seed", 0, "seed of the soak's attacks; 0 draws one")
)

const (
	// soakRound is how long the attacks last before all attackers leave and the
	// process is measured.
	soakRound = time.Minute
	// attackers is how many attacks there are at one time. Some of them are floods.
	attackers = 48
	// goodClients is how many clients connect one after the other, in each mode.
	goodClients = 2
	// servedAtOnce is the share of good clients that a long soak must serve at their
	// first attempt, but for one. Every client must be served at last, and every visitor
	// of the site at once.
	servedAtOnce = 0.99
	// soakPeerTimeout is the proxy's limit for a peer that takes nothing.
	soakPeerTimeout = 20 * time.Second
	// soakHeapSlack, in bytes, is how much the heap may grow: the memory of
	// handshakes and of addresses, which is bounded, fills during the soak.
	soakHeapSlack = 16 << 20
)

// Networks of loopback addresses. Attackers have the others.
const (
	goodNetwork     = 200 // 127.200.0.0/16: good clients
	balancerNetwork = 90  // 127.90.0.0/16: load balancers that send PROXY protocol headers
	attackNetworks  = 60  // 127.1.0.0/16 to 127.60.0.0/16
)

// While hostile clients of every kind, hosts and data centres that fail and floods
// from hundreds of addresses mix at random, clients in each mode are served, and
// those that are connected keep their connections. When the attackers leave, all
// that they took is released, and the counters agree with the sessions' reports.
//
// The test is short unless it is asked to be long:
//
//	go test -race ./faults -run Soak -soak 10m -timeout 20m -v
func TestSoakOfHostileConnections(t *testing.T) {
	warmUp()
	checkLeaks(t)
	s := newSoak(t)
	s.round(time.Second) // fills pools and caches
	s.reset()
	before := measureResources()
	t.Logf("before: %v", before)
	for left := *soakTime; left > 0 && !t.Failed(); left -= soakRound {
		s.round(min(left, soakRound))
		s.awaitBase(before)
	}
	s.checkServed()
	s.shutdown()
	s.checkCounters()
	s.logFigures()
}

// soak is a proxy with all modes, and what surrounds it.
type soak struct {
	t       *testing.T
	seed    uint64
	proxy   *proxy.Proxy
	address string
	site    *site
	secrets []mtwire.Secret // as soakModes
	secret  mtwire.Secret   // the last, of FakeTLS
	hello   recordings      // first bytes of clients with the secret

	dials atomic.Int64 // attempts to connect to the proxy

	mu      sync.Mutex
	attacks map[string]int
	good    map[string]*served
	ended   ended
	peak    proxy.Stats
	visits  map[string]chan error // of visitors, by their addresses; see visit
}

// ended is the sum of the sessions' last reports.
type ended struct {
	sessions, authenticated, unauthenticated, evicted int64
	up, down                                          int64
}

// served is what became of one kind of good client.
type served struct {
	clients  int
	times    []time.Duration // of those that were served
	again    int             // of those, how many had to connect again
	failures []error         // of all attempts
}

func newSoak(t *testing.T) *soak {
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-soak.seed %d", seed)
	s := &soak{t: t, seed: seed, site: newSite(t)}
	s.reset()
	for _, m := range soakModes {
		secret, err := mtwire.ParseSecret(m.secret)
		if err != nil {
			t.Fatal(err)
		}
		s.secrets, s.secret = append(s.secrets, secret), secret
	}
	var err error
	s.proxy, err = proxy.New(proxy.Config{
		Users:              s.users(false),
		Fronts:             map[string]proxy.Front{"": {Address: s.site.address}},
		DataCenters:        startDataCenters(t),
		TrustedProxies:     []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{127, balancerNetwork}), 16)},
		MaxUnauthenticated: 1000,
		MaxFronted:         500,
		StallTimeout:       time.Second,
		PeerTimeout:        soakPeerTimeout,
		DialTimeout:        3 * time.Second,
		Log:                slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug})),
		LogClients:         true,
		Traces:             []*proxy.Trace{{Closed: s.closed, Evicted: s.evicted}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	s.address = ln.Addr().String()
	serveUntilCleanup(t, func(ctx context.Context) error {
		err := s.proxy.Serve(ctx, ln)
		s.proxy.Close()
		return err
	})
	return s
}

// soakModes are the modes, each with a key of its own.
var soakModes = []mode{
	{name: "classic", secret: "c1" + mtwiretest.PlainSecret[2:], query: "protocol=intermediate&secret=c1" + mtwiretest.PlainSecret[2:]},
	{name: "dd", secret: "dddd" + mtwiretest.PlainSecret[2:], query: "secret=dddd" + mtwiretest.PlainSecret[2:]},
	{name: "ee", secret: mtwiretest.FakeTLSSecret, query: "secret=" + mtwiretest.FakeTLSSecret},
}

// users returns one user with a secret for each mode, and perhaps another one.
func (s *soak) users(second bool) []proxy.User {
	users := []proxy.User{{Name: "one", Secrets: s.secrets}}
	if second {
		users = append(users, proxy.User{Name: "two", Secrets: []mtwire.Secret{s.removable()}})
	}
	return users
}

// removable returns the secret of the user that comes and goes.
func (s *soak) removable() mtwire.Secret {
	secret := s.secret
	secret.Key[0] ^= 0xff
	return secret
}

func (s *soak) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attacks, s.good, s.peak = make(map[string]int), make(map[string]*served), proxy.Stats{}
	s.visits = make(map[string]chan error)
}

func (s *soak) closed(_ proxy.Session, r proxy.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended.sessions++
	s.ended.up += r.Up
	s.ended.down += r.Down
	if r.Stage >= proxy.Authenticated {
		s.ended.authenticated++
	}
	if r.Stage == proxy.ClientBytes {
		s.ended.unauthenticated++
	}
	if visit := s.visits[r.Client]; visit != nil {
		visit <- r.Err
		delete(s.visits, r.Client)
	}
}

func (s *soak) evicted(proxy.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended.evicted++
}

// dial connects to the proxy from an address.
func (s *soak) dial(ctx context.Context, from netip.Addr) (*net.TCPConn, error) {
	s.dials.Add(1) // an attempt that ends with ctx may have reached the proxy
	dialer := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), KeepAlive: -1}
	conn, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// round attacks for a time, and returns when all attackers and clients have left.
func (s *soak) round(length time.Duration) {
	s.t.Helper()
	// Not a deadline, which would fail a visitor's dial before the context ends.
	ctx, stop := context.WithCancel(context.Background())
	defer time.AfterFunc(length, stop).Stop()
	var serving sync.WaitGroup
	attacking := s.startAttacks(ctx)
	for _, m := range soakModes {
		serving.Go(func() { s.staying(ctx, m) })
		for i := range goodClients {
			rng := rand.New(rand.NewPCG(s.seed+1, uint64(i)))
			serving.Go(func() { s.coming(ctx, m, rng) })
		}
	}
	serving.Go(func() { s.visiting(ctx) })
	serving.Go(func() { s.site.misbehave(ctx, rand.New(rand.NewPCG(s.seed+2, 0))) })
	serving.Go(func() { s.changeUsers(ctx) })
	serving.Go(func() { s.observe(ctx) })
	serving.Wait() // the attacks end at the same time
	attacking.Wait()
	s.seed += 10 // other attacks in the next round
}

// startAttacks attacks until ctx ends.
func (s *soak) startAttacks(ctx context.Context) *sync.WaitGroup {
	var attacking sync.WaitGroup
	for i := range attackers {
		rng := rand.New(rand.NewPCG(s.seed, uint64(i)))
		attacking.Go(func() {
			for ctx.Err() == nil {
				s.attack(ctx, rng)
				sleepUntil(ctx, time.Millisecond)
			}
		})
	}
	return &attacking
}

// shutdown stops the proxy during attacks.
func (s *soak) shutdown() {
	ctx, stop := context.WithCancel(context.Background())
	attacking := s.startAttacks(ctx)
	sleepUntil(ctx, 500*time.Millisecond)
	limited, cancel := context.WithTimeout(ctx, time.Second)
	if err := s.proxy.Shutdown(limited); err != nil && err != limited.Err() {
		s.t.Errorf("shutdown: %v", err)
	}
	cancel()
	stop()
	attacking.Wait()
	if stats := s.proxy.Stats(); stats.Open != 0 || stats.Relaying != 0 || stats.Pending != 0 || stats.Fronted != 0 {
		s.t.Errorf("after the shutdown: %+v", stats)
	}
}

// attack is one attack of a random kind.
func (s *soak) attack(ctx context.Context, rng *rand.Rand) {
	kind := hostileKinds[rng.IntN(len(hostileKinds))]
	ctx, cancel := context.WithTimeout(ctx, time.Duration(100+rng.IntN(8000))*time.Millisecond)
	defer cancel()
	s.mu.Lock()
	s.attacks[kind.name]++
	s.mu.Unlock()
	kind.attack(ctx, s, rng)
}

// attackerAddress returns one of a few thousand addresses.
func attackerAddress(rng *rand.Rand) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(1 + rng.IntN(attackNetworks)), byte(rng.IntN(4)), byte(1 + rng.IntN(16))})
}

// coming is clients that connect one after the other, exchange some packets and
// leave. They come from a network of their own, from an attacker's address and
// through a load balancer.
func (s *soak) coming(ctx context.Context, m mode, rng *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		from, header := netip.AddrFrom4([4]byte{127, goodNetwork, byte(rng.IntN(4)), 1}), []byte(nil)
		switch i % 4 {
		case 1:
			from = attackerAddress(rng)
		case 2:
			from, header = balancer(rng), proxyHeader(rng)
		}
		s.serve(m.name, func(ctx context.Context) error { return s.exchange(ctx, m, from, header) })
		sleepUntil(ctx, 20*time.Millisecond)
	}
}

// serve is a good client of some kind. Like Telegram's clients it connects again when
// it has failed: if the site closes a connection, or sends something, before the
// client's first bytes are read, the proxy takes the client for a visitor.
func (s *soak) serve(kind string, client func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	started := time.Now()
	var failures []error
	for {
		err := client(ctx)
		if err == nil {
			s.count(kind, time.Since(started), failures)
			return
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			s.count(kind, -1, failures)
			return
		}
		sleepUntil(ctx, 20*time.Millisecond)
	}
}

// exchange is one connection of a client.
func (s *soak) exchange(ctx context.Context, m mode, from netip.Addr, header []byte) error {
	c, err := dial(ctx, m, s.address, 2, s.dialConfig(from, header))
	if err != nil {
		return err
	}
	defer c.Close()
	for range 3 {
		if err := c.Echo(ctx); err != nil {
			return err
		}
	}
	if err := c.Download(ctx, 2); err != nil {
		return err
	}
	return c.Upload(ctx, 2)
}

// dialConfig returns a configuration with an address, and with a PROXY protocol
// header if that is not nil.
func (s *soak) dialConfig(from netip.Addr, header []byte) *mtwire.DialConfig {
	return &mtwire.DialConfig{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := s.dial(ctx, from)
		if err != nil {
			return nil, err
		}
		if len(header) > 0 {
			if _, err := conn.Write(header); err != nil {
				conn.Close()
				return nil, err
			}
		}
		return &recording{TCPConn: conn, to: &s.hello}, nil
	}}
}

// staying is a client that keeps its connection during the round.
func (s *soak) staying(ctx context.Context, m mode) {
	var c *loadgen.Client
	s.serve(m.name+", to stay", func(ctx context.Context) (err error) {
		c, err = dial(ctx, m, s.address, 2, s.dialConfig(netip.AddrFrom4([4]byte{127, goodNetwork, 9, 9}), nil))
		return err
	})
	if c == nil {
		return
	}
	defer c.Close()
	for ctx.Err() == nil {
		started := time.Now()
		echo, cancel := context.WithTimeout(context.Background(), testTimeout)
		err := c.Echo(echo)
		cancel()
		if err != nil {
			s.t.Errorf("%s: a connected client after %v: %v", m.name, time.Since(started), err)
			return
		}
		s.count(m.name+", connected", time.Since(started), nil)
		sleepUntil(ctx, 50*time.Millisecond)
	}
}

// changeUsers adds and removes a user.
func (s *soak) changeUsers(ctx context.Context) {
	for second := true; ctx.Err() == nil; second = !second {
		if err := s.proxy.SetUsers(s.users(second)); err != nil {
			s.t.Error(err)
		}
		sleepUntil(ctx, 300*time.Millisecond)
	}
}

// observe reads what the proxy shows of itself, and keeps the largest numbers.
func (s *soak) observe(ctx context.Context) {
	for ctx.Err() == nil {
		stats := s.proxy.Stats()
		for session := range s.proxy.Sessions() {
			_, _ = session.User(), session.Report()
		}
		s.mu.Lock()
		s.peak.Open, s.peak.Relaying = max(s.peak.Open, stats.Open), max(s.peak.Relaying, stats.Relaying)
		s.peak.Pending, s.peak.Fronted = max(s.peak.Pending, stats.Pending), max(s.peak.Fronted, stats.Fronted)
		s.mu.Unlock()
		sleepUntil(ctx, 100*time.Millisecond)
	}
}

// count adds a good client to the figures. took is negative if it was not served.
func (s *soak) count(kind string, took time.Duration, failures []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.good[kind]
	if k == nil {
		k = &served{}
		s.good[kind] = k
	}
	k.clients++
	k.failures = append(k.failures, failures...)
	if took >= 0 {
		k.times = append(k.times, took)
		k.again += min(1, len(failures))
	}
}

// sleepUntil sleeps, and returns early when ctx ends.
func sleepUntil(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
