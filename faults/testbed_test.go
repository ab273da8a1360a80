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

// mode is an MTProxy mode, and a client's endpoint in it.
type mode struct {
	name, secret string
	query        string // of an endpoint's URL
	parallel     bool   // the test runs beside others
}

var modes = []mode{
	{name: "classic", secret: mtwiretest.PlainSecret, query: "protocol=intermediate&secret=" + mtwiretest.PlainSecret},
	{name: "dd", secret: mtwiretest.PaddedSecret, query: "secret=" + mtwiretest.PaddedSecret},
	{name: "ee", secret: mtwiretest.FakeTLSSecret, query: "secret=" + mtwiretest.FakeTLSSecret},
}

// inEveryMode runs a scenario in classic, dd and ee, one after the other,
// because each checks the whole process for leaks.
func inEveryMode(t *testing.T, scenario func(t *testing.T, m mode)) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) { scenario(t, m) })
	}
}

// inParallelModes runs a scenario that mostly waits in classic, dd and ee at the
// same time. It checks for leaks when all of them have ended.
func inParallelModes(t *testing.T, scenario func(t *testing.T, m mode)) {
	warmUp()
	checkLeaks(t)
	inModesAtOnce(t, scenario)
}

// inModesAtOnce is inParallelModes without a check for leaks.
func inModesAtOnce(t *testing.T, scenario func(t *testing.T, m mode)) {
	for _, m := range modes {
		m.parallel = true
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			scenario(t, m)
		})
	}
}

// packetSize, in bytes, is unlike the size of any buffer.
var packetSize = loadgen.RoundPacketSize(40_000)

// testbed is a data centre, a middlebox, a proxy in this process and its
// fronting host.
type testbed struct {
	t          *testing.T
	mode       mode
	dataCenter *loadgen.DataCenter
	upstream   *middlebox // between the proxy and the data centre number 2
	direct     string     // the data centre's own address, which has number 4
	host       *frontingHost
	proxy      *proxy.Proxy
	address    string
}

// newTestbed starts a testbed, stops it at the test's end and checks for leaks.
// At the test's end the proxy must close all connections before it is stopped.
func newTestbed(t *testing.T, m mode, change func(*proxy.Config)) *testbed {
	t.Helper()
	warmUp()
	if !m.parallel {
		checkLeaks(t)
	}
	tb := &testbed{t: t, mode: m, host: newFrontingHost(t)}
	tb.dataCenter = startDataCenter(t, listen(t))
	tb.direct = tb.dataCenter.Addr().String()
	tb.upstream = newMiddlebox(t, tb.direct)
	config := proxy.Config{
		DataCenters: map[datacenter.DC][]string{2: {tb.upstream.address()}, 4: {tb.direct}},
	}
	if change != nil {
		change(&config)
	}
	tb.proxy, tb.address = startProxy(t, m, tb.host, config, listen(t))
	tb.client(2).Close()
	tb.client(4).Close()
	tb.awaitNoConnections()
	t.Cleanup(tb.awaitNoConnections)
	if m.parallel {
		return tb
	}
	before := measureResources()
	t.Cleanup(func() {
		tb.awaitNoConnections()
		awaitRelease(t, "without connections", before, idleSlack)
	})
	return tb
}

// warmUp starts what a process starts only once, so that it is no leak.
var warmUp = sync.OnceFunc(func() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return // the test's own listener reports the error
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

func (tb *testbed) awaitNoConnections() {
	tb.t.Helper()
	eventually(tb.t, "all connections of the proxy and the data centre end", func() bool {
		return tb.proxy.Stats().Open == 0 && tb.dataCenter.Open() == 0 && tb.upstream.open() == 0
	})
}

// oneDataCenter returns a configuration with dc for all numbers.
func oneDataCenter(dc *loadgen.DataCenter) proxy.Config {
	return proxy.Config{DataCenters: map[datacenter.DC][]string{0: {dc.Addr().String()}}}
}

// startProxy serves m's clients on a listener until the test ends.
func startProxy(t *testing.T, m mode, host *frontingHost, config proxy.Config, ln net.Listener) (*proxy.Proxy, string) {
	t.Helper()
	secret, err := mtwire.ParseSecret(m.secret)
	if err != nil {
		t.Fatal(err)
	}
	config.Users = []proxy.User{{Name: "one", Secrets: []mtwire.Secret{secret}}}
	config.Log = slog.New(slog.DiscardHandler)
	if m.name == "ee" {
		config.Fronts = map[string]proxy.Front{"": {Address: host.address()}}
	}
	p, err := proxy.New(config)
	if err != nil {
		t.Fatal(err)
	}
	serveUntilCleanup(t, func(ctx context.Context) error {
		err := p.Serve(ctx, ln)
		if ctx.Err() != nil { // and not Shutdown, which lets sessions finish
			p.Close()
		}
		return err
	})
	return p, ln.Addr().String()
}

func startDataCenter(t *testing.T, ln net.Listener) *loadgen.DataCenter {
	t.Helper()
	dc := loadgen.NewDataCenter(ln)
	serveUntilCleanup(t, dc.Serve)
	return dc
}

// serveUntilCleanup calls serve and, at the test's end, cancels its context.
// serve must then return.
func serveUntilCleanup(t *testing.T, serve func(context.Context) error) {
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
		case <-time.After(testTimeout):
			t.Error("serve does not return")
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

// listenApart is listen at an IP address that connections do not come from, where there is one: none
// takes the port while nothing listens there.
func listenApart(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil { // not all systems have all addresses of loopback
		return listen(t)
	}
	return ln
}

// testTimeout bounds every step of a test, on a slow machine.
const testTimeout = 40 * time.Second

// testContext returns a context that ends after testTimeout or with the test.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// client connects to a data centre through the proxy, and echoes one message.
func (tb *testbed) client(dc mtwire.DC) *loadgen.Client {
	tb.t.Helper()
	return mustDial(tb.t, tb.mode, tb.address, dc, nil)
}

func mustDial(t *testing.T, m mode, address string, dc mtwire.DC, config *mtwire.DialConfig) *loadgen.Client {
	t.Helper()
	c, err := dial(testContext(t), m, address, dc, config)
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

// wrapSocket returns a configuration in which wrap makes a client's connection
// from its socket.
func wrapSocket(wrap func(*net.TCPConn) net.Conn) *mtwire.DialConfig {
	return &mtwire.DialConfig{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return wrap(conn.(*net.TCPConn)), nil
	}}
}

// exchange downloads and uploads packets and compares them byte by byte.
func exchange(t *testing.T, c *loadgen.Client, packets int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel() // not at the test's end: some tests exchange thousands of times
	if err := c.Download(ctx, packets); err != nil {
		t.Fatalf("download: %v", err)
	}
	if err := c.Upload(ctx, packets); err != nil {
		t.Fatalf("upload: %v", err)
	}
}

// frontingHost is a site that sends hostAnswer to every client that has sent
// something.
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

// serve answers as a TLS server does: at once what is no TLS, and a ClientHello
// when it is complete.
func (h *frontingHost) serve(conn net.Conn) {
	var header [5]byte
	if _, err := io.ReadFull(conn, header[:1]); err != nil {
		return
	}
	if header[0] == 0x16 {
		if _, err := io.ReadFull(conn, header[1:]); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, conn, int64(header[3])<<8|int64(header[4])); err != nil {
			return
		}
	}
	h.mu.Lock()
	h.seen++
	h.mu.Unlock()
	io.WriteString(conn, hostAnswer)
	conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, conn)
}

// visits returns how many connections have sent something.
func (h *frontingHost) visits() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen
}

// connSet is a set of open connections.
type connSet struct {
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// add reports whether conn was added. After closeAll it closes conn instead.
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
