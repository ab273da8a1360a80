package relay_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/relay"
)

// header returns a PROXY protocol header of that version for a client.
func header(version int, client string) []byte {
	from := netip.MustParseAddrPort(client)
	if version == 1 {
		family := "TCP4"
		if from.Addr().Is6() {
			family = "TCP6"
		}
		return fmt.Appendf(nil, "PROXY %s %v %v %d 443\r\n", family, from.Addr(), from.Addr(), from.Port())
	}
	family := byte(0x11)
	if from.Addr().Is6() {
		family = 0x21
	}
	body := slices.Concat(from.Addr().AsSlice(), from.Addr().AsSlice())
	body = binary.BigEndian.AppendUint16(body, from.Port())
	body = binary.BigEndian.AppendUint16(body, 443)
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21"), family)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
}

// behind returns a config that connects to ln through a load balancer that sends header
// first.
func behind(ln net.Listener, header []byte) *mtwire.DialConfig {
	return &mtwire.DialConfig{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, ln.Addr().Network(), ln.Addr().String())
		if err == nil {
			_, err = conn.Write(header)
		}
		return conn, err
	}}
}

// logLines is a log that a test reads.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logLines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// startBehind serves a relay to an echoing server on ln, and its log.
func startBehind(t *testing.T, ln net.Listener, config relay.Config) (*relay.Relay, *logLines) {
	t.Helper()
	log := new(logLines)
	config.Log = log.logger()
	config.To = []mtwire.Endpoint{endpoint(t, "tcp://HOST:PORT", listen(t, nil, serve))}
	r, err := relay.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		mtwire.NewListener(r.Listener(ln), nil).Serve(ctx, r.Handle)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return r, log
}

func socket(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// The client's address is the one in the header of a trusted load balancer, over every
// carrier and on Unix sockets.
func TestHeaderOfALoadBalancerNamesTheClient(t *testing.T) {
	for _, c := range []struct {
		ln        net.Listener
		endpoints []string
	}{
		{socket(t, "tcp", "127.0.0.1:0"), []string{"tcp://HOST:PORT?protocol=full", "tcp://HOST:PORT?obfuscated=true", "ws://HOST:PORT/apiws", "http://HOST:PORT/api"}},
		{socket(t, "unix", filepath.Join(t.TempDir(), "s")), []string{"tcp://HOST:PORT"}},
	} {
		r, log := startBehind(t, c.ln, relay.Config{TrustedProxies: loopback, TrustUnixSockets: true})
		var clients []string
		for i, format := range c.endpoints {
			for version, client := range map[int]string{1: fmt.Sprintf("192.0.2.5:%d", 40000+i), 2: fmt.Sprintf("[2001:db8::5]:%d", 40000+i)} {
				conn, err := mtwire.DialEndpoint(t.Context(), endpoint(t, format, "127.0.0.1:1"), behind(c.ln, header(version, client)))
				if err != nil {
					t.Fatal(err)
				}
				if !answers(t, conn) {
					t.Errorf("%s: no answer", format)
				}
				conn.Close()
				clients = append(clients, client)
			}
		}
		for r.Stats().Open != 0 {
			time.Sleep(time.Millisecond)
		}
		for _, client := range clients {
			if lines := log.String(); !strings.Contains(lines, "client="+client+" ") && !strings.Contains(lines, `client="`+client+`" `) {
				t.Errorf("%s is not in\n%s", client, lines)
			}
		}
	}
}

// Clients behind a load balancer have shares of their own: one address fills its own.
func TestClientsBehindALoadBalancerHaveSharesOfTheirOwn(t *testing.T) {
	ln := socket(t, "tcp", "127.0.0.1:0")
	r, _ := startBehind(t, ln, relay.Config{TrustedProxies: loopback, MaxUnauthenticated: 8, MaxUnauthenticatedPerAddress: 2})
	client := func(address string) {
		conn, err := mtwire.DialEndpoint(t.Context(), mtwire.Endpoint{Address: ln.Addr().String()}, behind(ln, header(2, address)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if !answers(t, conn) {
			t.Errorf("no answer for %s", address)
		}
	}
	for i := range 6 {
		client(fmt.Sprintf("192.0.%d.5:1", i))
	}
	if n := r.Stats().Evicted; n != 0 {
		t.Errorf("%d connections of six addresses were evicted", n)
	}
	for range 3 {
		client("198.51.100.1:1")
	}
	if n := r.Stats().Evicted; n != 1 {
		t.Errorf("%d of three connections of one address were evicted", n)
	}
}

// The header of a peer that is not trusted is a client's bytes, and its address is not
// used.
func TestHeaderOfAnUntrustedPeerIsNotRead(t *testing.T) {
	ln := socket(t, "tcp", "127.0.0.1:0")
	_, log := startBehind(t, ln, relay.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, TrustUnixSockets: true})
	for version := 1; version <= 2; version++ {
		conn, err := mtwire.DialEndpoint(t.Context(), endpoint(t, "tcp://HOST:PORT?protocol=abridged", ln.Addr().String()), behind(ln, header(version, "192.0.2.5:4321")))
		if err != nil {
			t.Fatal(err)
		}
		conn.Send(t.Context(), message(echo, 16))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := conn.Receive(ctx); err == nil {
			t.Error("an answer")
		}
		cancel()
		conn.Close()
	}
	conn, err := mtwire.DialEndpoint(t.Context(), mtwire.Endpoint{Address: ln.Addr().String()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !answers(t, conn) {
		t.Error("no answer without a header")
	}
	if strings.Contains(log.String(), "192.0.2.5") {
		t.Error(log)
	}
}

// A trusted peer that sends no header is closed without an answer, and the log tells so
// once a minute. One that sends nothing is a health check.
func TestALoadBalancerWithoutAHeaderIsClosed(t *testing.T) {
	ln := socket(t, "tcp", "127.0.0.1:0")
	r, log := startBehind(t, ln, relay.Config{TrustedProxies: loopback})
	sent := [][]byte{nil, append([]byte{0xef, 0x1a}, message(echo, 0)...), []byte("PROXY TCP4 not an address\r\n"), []byte("GET / HTTP/1.1\r\n\r\n")}
	for i, first := range sent {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(first)
		if first == nil {
			conn.(*net.TCPConn).CloseWrite()
		}
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if b, err := io.ReadAll(conn); len(b) > 0 || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%q, %v", b, err)
		}
		conn.Close()
		if n := strings.Count(log.String(), "no good PROXY protocol header"); n != min(i, 1) {
			t.Errorf("%d records after %q:\n%v", n, first, log)
		}
	}
	for r.Stats().Unauthenticated > 0 {
		time.Sleep(time.Millisecond)
	}
}

// pipeListener accepts one end of each pipe that is sent to it.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	conn, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// A load balancer has ten seconds for its header, and delays no other connection
// meanwhile.
func TestASilentLoadBalancerIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logLines)
		r, err := relay.New(relay.Config{To: []mtwire.Endpoint{{Address: "192.0.2.1:443"}}, TrustedProxies: loopback, Log: log.logger()})
		if err != nil {
			t.Fatal(err)
		}
		pipes := make(pipeListener)
		go mtwire.NewListener(r.Listener(pipes), nil).Serve(t.Context(), r.Handle)
		begun := time.Now()
		var ended sync.WaitGroup
		for _, begin := range []string{"", "PROXY TCP4 192.0", "\r\n\r\n\x00\r\nQUIT\n\x21\x11"} {
			ours, theirs := net.Pipe()
			pipes <- from{ours, "127.0.0.1"}
			ended.Go(func() {
				io.WriteString(theirs, begin)
				if _, err := theirs.Read(make([]byte, 1)); err != io.EOF || time.Since(begun) != 10*time.Second {
					t.Errorf("%q: %v after %v", begin, err, time.Since(begun))
				}
			})
		}
		ended.Wait()
		close(pipes)
		synctest.Wait()
		if !strings.Contains(log.String(), "i/o timeout") {
			t.Error(log)
		}
	})
}

// An endpoint that leads back by way of a load balancer is noticed by the addresses in the
// header.
func TestALoadBalancerThatLeadsBackIsNoticed(t *testing.T) {
	ln, balancer := socket(t, "tcp", "127.0.0.1:0"), socket(t, "tcp", "127.0.0.1:0")
	log := new(logLines)
	r, err := relay.New(relay.Config{TrustedProxies: loopback, Log: log.logger(), To: []mtwire.Endpoint{
		endpoint(t, "tcp://HOST:PORT", balancer.Addr().String()), endpoint(t, "tcp://HOST:PORT", listen(t, nil, serve)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer balancer.Close()
	running.Go(func() {
		for {
			client, err := balancer.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer client.Close()
				server, err := new(net.Dialer).Dial("tcp", ln.Addr().String())
				if err != nil {
					return
				}
				defer server.Close()
				from, to := client.RemoteAddr().(*net.TCPAddr), client.LocalAddr().(*net.TCPAddr)
				fmt.Fprintf(server, "PROXY TCP4 %v %v %d %d\r\n", from.IP, to.IP, from.Port, to.Port)
				go io.Copy(server, client)
				io.Copy(client, server)
			})
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	running.Go(func() { mtwire.NewListener(r.Listener(ln), nil).Serve(ctx, r.Handle) })
	defer cancel()
	client, err := mtwire.Dial(t.Context(), "tcp://"+balancer.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if !answers(t, client) {
		t.Error("no answer")
	}
	if !strings.Contains(log.String(), "leads back to this relay") {
		t.Error(log)
	}
}

// Connections of a load balancer that sends no headers make room for each other at its share,
// half of a quarter of the limit, and keep those of another balancer out in no way.
func TestConnectionsWithoutTheirHeaderMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logLines)
		r, err := relay.New(relay.Config{
			To: []mtwire.Endpoint{{Address: "192.0.2.1:443"}}, Log: log.logger(),
			TrustedProxies: loopback, MaxUnauthenticated: 80, MaxUnauthenticatedPerAddress: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		pipes := make(pipeListener)
		go mtwire.NewListener(r.Listener(pipes), nil).Serve(t.Context(), r.Handle)
		var waiting []net.Conn
		for range 12 {
			ours, theirs := net.Pipe()
			pipes <- from{ours, "127.0.0.1"}
			waiting = append(waiting, theirs)
			time.Sleep(time.Millisecond)
		}
		ours, theirs := net.Pipe()
		pipes <- from{ours, "127.0.1.1"}
		theirs.Write(header(1, "192.0.2.5:4321"))
		synctest.Wait()
		if stats := r.Stats(); stats.Evicted != 2 || stats.Unauthenticated != 1 {
			t.Errorf("%+v", stats)
		}
		for i, conn := range append(waiting, theirs) {
			conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := conn.Read(make([]byte, 1)); (err == io.EOF) != (i < 2) {
				t.Errorf("connection %d: %v", i, err)
			}
			conn.Close()
		}
		if !strings.Contains(log.String(), "waiting for a PROXY protocol header: too many unauthenticated connections: limit of 10 for an address of 127.0.0.0/24") {
			t.Error(log)
		}
		close(pipes)
	})
}

// What is no network is refused.
func TestTrustedNetworksAreChecked(t *testing.T) {
	if _, err := relay.New(relay.Config{To: []mtwire.Endpoint{{Address: "192.0.2.1:443"}}, TrustedProxies: make([]netip.Prefix, 1)}); err == nil {
		t.Error("no error")
	}
}
