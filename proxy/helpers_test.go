package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/keysearch"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// short returns a context that bounds one step of a test.
func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until is returns true, and fails the test after half a minute.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in half a minute: " + what)
		}
	}
}

func secretOf(t testing.TB, text string) mtproxy.Secret {
	t.Helper()
	s, err := mtproxy.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// user returns a user with these secrets.
func user(t *testing.T, name string, secrets ...string) User {
	t.Helper()
	u := User{Name: name}
	for _, text := range secrets {
		u.Secrets = append(u.Secrets, secretOf(t, text))
	}
	return u
}

// onlyUser returns one user without a name, with these secrets.
func onlyUser(t *testing.T, secrets ...string) []User {
	t.Helper()
	return []User{user(t, "", secrets...)}
}

// keyOf returns the key of a test's i-th user.
func keyOf(i int) (key [16]byte) {
	copy(key[:], "a user's secret")
	binary.BigEndian.PutUint32(key[12:], uint32(i))
	return key
}

// numberedUsers returns n users with a secret of one mode and domain each, from
// the start-th on.
func numberedUsers(start, n int, mode mtproxy.Mode, domain string) (users []User) {
	for i := start; i < start+n; i++ {
		users = append(users, User{
			Name:    fmt.Sprint("user ", i),
			Secrets: []mtproxy.Secret{{Key: keyOf(i), Mode: mode, Domain: domain}},
		})
	}
	return users
}

// initOf returns the init payload of a client with that key.
func initOf(t testing.TB, key [16]byte, protocol frame.Protocol) []byte {
	t.Helper()
	init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: protocol, DC: 2, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	return init[:]
}

// helloOf returns the FakeTLS hello of a client with that key.
func helloOf(t testing.TB, key [16]byte, domain string) []byte {
	t.Helper()
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: key, Domain: domain})
	if err != nil {
		t.Fatal(err)
	}
	return hello
}

// payload returns a random payload of that many cipher blocks and a header.
func payload(blocks int) []byte {
	b := make([]byte, 24+16*blocks)
	rand.Read(b)
	return b
}

// dataCenter starts a data centre that answers every packet with itself, and
// returns the transport of each connection.
func dataCenter(t *testing.T) (net.Addr, <-chan mtwire.Transport) {
	t.Helper()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	transports := make(chan mtwire.Transport, 100)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
			if conn.Handshake(ctx) != nil {
				return
			}
			transports <- conn.Transport()
			mtwiretest.Echo(ctx, conn)
		})
	}()
	t.Cleanup(func() { cancel(); <-served })
	return ln.Addr(), transports
}

// newProxy returns a proxy that is not served yet. Without users in config it has
// one for mtwiretest.PlainSecret, and without a log it has none. It is closed at
// the test's end, and must be closed in time.
func newProxy(t *testing.T, config Config) *Proxy {
	t.Helper()
	if config.Users == nil {
		config.Users = []User{user(t, "alice", mtwiretest.PlainSecret)}
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	p, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeProxy(t, p) })
	return p
}

// newEchoProxy is newProxy with a data centre that echoes.
func newEchoProxy(t *testing.T) *Proxy {
	t.Helper()
	dc, _ := dataCenter(t)
	return newProxy(t, Config{DataCenters: allAt(dc)})
}

// at returns the configuration of one address for all data centres.
func at(address string) map[datacenter.DC][]string {
	return map[datacenter.DC][]string{0: {address}}
}

// allAt is at for a listener's address.
func allAt(address net.Addr) map[datacenter.DC][]string { return at(address.String()) }

// closeProxy closes p, and checks that nothing of it is left.
func closeProxy(t *testing.T, p *Proxy) {
	t.Helper()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		p.Close()
	}()
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Error("the proxy does not stop")
		return
	}
	if stats := p.Stats(); stats.Open != 0 || stats.Relaying != 0 || len(p.sessions) != 0 || p.pending.Len()+p.fronted.Len() != 0 {
		t.Errorf("after Close: %+v, %d sessions, %d pending", stats, len(p.sessions), p.pending.Len())
	}
}

// serve serves the listeners until the test ends.
func serve(t *testing.T, p *Proxy, listeners ...net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, len(listeners))
	for _, ln := range listeners {
		go func() { served <- p.Serve(ctx, netx.Sockets(ln)) }()
	}
	t.Cleanup(func() {
		cancel()
		for range listeners {
			if err := returned(t, served); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrStopped) {
				t.Errorf("serve: %v", err)
			}
		}
	})
}

// returned waits for the result of a call in another goroutine.
func returned(t *testing.T, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(30 * time.Second):
		t.Error("a call does not return")
		return context.Canceled
	}
}

// startProxy starts a proxy on a free port; see newProxy.
func startProxy(t *testing.T, config Config) (*Proxy, net.Addr) {
	t.Helper()
	p := newProxy(t, config)
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	return p, ln.Addr()
}

// start is startProxy for tests that need the address only.
func start(t *testing.T, config Config) net.Addr {
	t.Helper()
	_, address := startProxy(t, config)
	return address
}

func listen(t testing.TB, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// dial connects a client with the query of an endpoint's URL, and sends nothing
// of its own yet.
func dial(t *testing.T, address net.Addr, query string) *mtwire.Conn {
	t.Helper()
	conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// join is dial, and has one packet come back.
func join(t *testing.T, address net.Addr, query string) *mtwire.Conn {
	t.Helper()
	conn := dial(t, address, query)
	echo(t, conn, 3)
	return conn
}

// echo sends a packet and receives it back.
func echo(t *testing.T, conn *mtwire.Conn, blocks int) {
	t.Helper()
	sent := payload(blocks)
	if err := conn.Send(short(t), sent); err != nil {
		t.Fatal(err)
	}
	p, err := conn.Receive(short(t))
	if err != nil || !bytes.Equal(p.Payload, sent) {
		t.Fatalf("%d bytes of %d came back, %v", len(p.Payload), len(sent), err)
	}
}

// ended waits until a client's connection has ended.
func ended(t *testing.T, conn *mtwire.Conn) {
	t.Helper()
	_, err := conn.Receive(short(t))
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the connection has not ended: %v", err)
	}
}

// spendBudget uses up the budget of failed searches. p must have more secrets than
// are always searched for.
func spendBudget(t *testing.T, p *Proxy) {
	t.Helper()
	q := keysearch.Query{FakeTLS: true, ServerName: "a.example", Length: 1 << 30}
	search := func() keysearch.Outcome {
		_, outcome := p.search.Find(t.Context(), p.users.Load().index, netip.MustParseAddr("10.0.0.0"), q, func(*mtproxy.KeySet) int { return -1 })
		return outcome
	}
	if search(); search() != keysearch.NotSearched {
		t.Error("the budget is not spent")
	}
}
