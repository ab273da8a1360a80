package faults_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
)

// mode is a way for clients to come in.
type mode struct {
	name, secret string
	query        string // of an endpoint's URL
	beside       bool   // others run at the same time
}

var modes = []mode{
	{name: "classic", secret: mtwiretest.PlainSecret, query: "protocol=intermediate&secret=" + mtwiretest.PlainSecret},
	{name: "dd", secret: mtwiretest.PaddedSecret, query: "secret=" + mtwiretest.PaddedSecret},
	{name: "ee", secret: mtwiretest.FakeTLSSecret, query: "secret=" + mtwiretest.FakeTLSSecret},
}

// inEveryMode runs a scenario in classic, dd and ee, one after the other: each
// counts what the whole process has left.
func inEveryMode(t *testing.T, scenario func(t *testing.T, m mode)) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) { scenario(t, m) })
	}
}

// inAllModesAtOnce is the same for a scenario that mostly waits: what is left is
// counted when it has ended in all modes.
func inAllModesAtOnce(t *testing.T, scenario func(t *testing.T, m mode)) {
	warmUp()
	leavesNothing(t)
	for _, m := range modes {
		m.beside = true
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			scenario(t, m)
		})
	}
}

// packetSize is a size of packets that does not fit any buffer well.
var packetSize = loadgen.RoundPacketSize(40_000)

// world is a data centre, a middlebox, a proxy in this process, and the host
// that it fronts.
type world struct {
	t          *testing.T
	mode       mode
	dataCenter *loadgen.DataCenter
	upstream   *middlebox // between the proxy and the data centre number 2
	beside     string     // the data centre's own address, which is number 4
	host       *frontingHost
	proxy      *proxy.Proxy
	address    string
}

// newWorld starts everything, and sees to it that it ends, leaving nothing. At
// the test's end, before the proxy is stopped, no connection may be left in it.
func newWorld(t *testing.T, m mode, change func(*proxy.Config)) *world {
	t.Helper()
	warmUp()
	if !m.beside {
		leavesNothing(t)
	}
	w := &world{t: t, mode: m, host: newFrontingHost(t)}
	w.dataCenter = startDataCenter(t, listen(t))
	w.beside = w.dataCenter.Addr().String()
	w.upstream = newMiddlebox(t, w.beside)
	config := proxy.Config{
		DataCenters: map[datacenter.DC][]string{2: {w.upstream.address()}, 4: {w.beside}},
	}
	if change != nil {
		change(&config)
	}
	w.proxy, w.address = startProxy(t, m, w.host, config, listen(t))
	w.client(2).Close()
	w.client(4).Close()
	w.awaitEmpty()
	t.Cleanup(w.awaitEmpty)
	if m.beside {
		return w
	}
	before := held()
	t.Cleanup(func() {
		w.awaitEmpty()
		awaitRelease(t, "with all connections gone", before, runningSlack)
	})
	return w
}

// warmUp has everything made that is made once in a process.
var warmUp = sync.OnceFunc(func() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return // whoever comes next will say why
	}
	dc := loadgen.NewDataCenter(ln)
	serving, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { dc.Serve(serving) })
	conn, err := mtwire.Dial(ctx, "tcp://"+ln.Addr().String()+"?obfuscated=true", nil)
	if err != nil {
		return
	}
	defer conn.Close()
	if c, err := loadgen.NewClient(conn, packetSize); err == nil {
		c.Download(ctx, 1)
	}
})

func (w *world) awaitEmpty() {
	w.t.Helper()
	eventually(w.t, "all connections of the proxy and the data centre end", func() bool {
		return w.proxy.Stats().Open == 0 && w.dataCenter.Open() == 0 && w.upstream.open() == 0
	})
}

// leadingTo is a configuration with one data centre for all numbers.
func leadingTo(dc *loadgen.DataCenter) proxy.Config {
	return proxy.Config{DataCenters: map[datacenter.DC][]string{0: {dc.Addr().String()}}}
}

// startProxy serves m's clients on a listener until the test ends.
func startProxy(t *testing.T, m mode, host *frontingHost, config proxy.Config, ln net.Listener) (*proxy.Proxy, string) {
	t.Helper()
	secret, err := mtwire.ParseSecret(m.secret)
	if err != nil {
		t.Fatal(err)
	}
	config.Users = []proxy.User{{Name: "one", Secret: secret}}
	config.Log = slog.New(slog.DiscardHandler)
	if m.name == "ee" {
		config.Fronts = map[string]string{"": host.address()}
	}
	p, err := proxy.New(config)
	if err != nil {
		t.Fatal(err)
	}
	untilTheEnd(t, func(ctx context.Context) error { return p.Serve(ctx, ln) })
	return p, ln.Addr().String()
}

func startDataCenter(t *testing.T, ln net.Listener) *loadgen.DataCenter {
	t.Helper()
	dc := loadgen.NewDataCenter(ln)
	untilTheEnd(t, dc.Serve)
	return dc
}

// untilTheEnd calls serve until the test ends, and wants it to return then.
func untilTheEnd(t *testing.T, serve func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-served:
			if !errors.Is(err, context.Canceled) && !errors.Is(err, proxy.ErrStopped) {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("it does not stop")
		}
	})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// patience is for all that has to happen soon, on a slow machine.
const patience = 40 * time.Second

// limited is a context with that limit.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// client connects to a data centre, and has one message come back.
func (w *world) client(dc mtwire.DC) *loadgen.Client {
	w.t.Helper()
	return mustDial(w.t, w.mode, w.address, dc, nil)
}

func mustDial(t *testing.T, m mode, address string, dc mtwire.DC, config *mtwire.DialConfig) *loadgen.Client {
	t.Helper()
	c, err := dial(limited(t), m, address, dc, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func dial(ctx context.Context, m mode, address string, dc mtwire.DC, config *mtwire.DialConfig) (*loadgen.Client, error) {
	ep, err := mtwire.ParseEndpoint("tcp://" + address + "?" + m.query)
	if err != nil {
		return nil, err
	}
	ep.DC = dc
	conn, err := mtwire.DialEndpoint(ctx, ep, config)
	if err != nil {
		return nil, err
	}
	c, err := loadgen.NewClient(conn, packetSize)
	if err == nil {
		err = c.Echo(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// over has a client's connection be what wrap makes of its socket.
func over(wrap func(*net.TCPConn) net.Conn) *mtwire.DialConfig {
	return &mtwire.DialConfig{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return wrap(conn.(*net.TCPConn)), nil
	}}
}

// exchange moves packets both ways, and checks them.
func exchange(t *testing.T, c *loadgen.Client, packets int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel() // and not at the test's end: some come here thousands of times
	if err := c.Download(ctx, packets); err != nil {
		t.Fatalf("download: %v", err)
	}
	if err := c.Upload(ctx, packets); err != nil {
		t.Fatalf("upload: %v", err)
	}
}

// frontingHost is a site that answers whatever it is sent with its own name.
type frontingHost struct {
	ln   net.Listener
	mu   sync.Mutex
	seen int
}

const hostAnswer = "a site of its own"

func newFrontingHost(t *testing.T) *frontingHost {
	h := &frontingHost{ln: listen(t)}
	var conns connSet
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := h.ln.Accept()
			if err != nil {
				return
			}
			if !conns.add(conn) {
				continue
			}
			running.Go(func() {
				defer conns.remove(conn)
				h.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		h.ln.Close()
		conns.closeAll()
		running.Wait()
	})
	return h
}

func (h *frontingHost) address() string { return h.ln.Addr().String() }

func (h *frontingHost) serve(conn net.Conn) {
	if _, err := conn.Read(make([]byte, 4096)); err != nil {
		return
	}
	h.mu.Lock()
	h.seen++
	h.mu.Unlock()
	io.WriteString(conn, hostAnswer)
	conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, conn)
}

// visits is how many have spoken to it.
func (h *frontingHost) visits() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen
}

// connSet is open connections.
type connSet struct {
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// add closes conn instead if all were closed already.
func (s *connSet) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return false
	}
	if s.conns == nil {
		s.conns = make(map[net.Conn]struct{})
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *connSet) remove(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

func (s *connSet) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
}

func (s *connSet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *connSet) each(do func(net.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		do(conn)
	}
}
