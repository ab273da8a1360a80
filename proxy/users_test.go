package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Secrets of several users, without a prefix.
var (
	aliceKey = strings.Repeat("a1", 16)
	bobKey   = strings.Repeat("b2", 16)
	carolKey = strings.Repeat("c3", 16)
)

func setUsers(t *testing.T, p *Proxy, users ...User) {
	t.Helper()
	if err := p.SetUsers(users); err != nil {
		t.Fatal(err)
	}
}

// ee returns a FakeTLS secret with a key in hexadecimal.
func ee(key, domain string) string {
	k, err := mtproxy.ParseSecret(key)
	if err != nil {
		panic(err)
	}
	return mtproxy.Secret{Key: k.Key, Mode: mtproxy.FakeTLS, Domain: domain}.String()
}

func namesOf(users []*User) (names []string) {
	for _, u := range users {
		names = append(names, u.Name)
	}
	return names
}

// SetUsers lets clients of new users in, and closes the sessions of users that are
// gone, and no others.
func TestSetUsersChangesWhichClientsAreServed(t *testing.T) {
	dc, _ := dataCenter(t)
	host, visits := frontingHost(t)
	ended := &reports{}
	log := &logBuffer{}
	p, address := startProxy(t, Config{
		Users:       []User{user(t, "bob", bobKey), user(t, "alice", aliceKey)},
		DataCenters: allAt(dc), Fronts: map[string]Front{"": {Address: host}},
		Traces: []*Trace{ended.trace()}, Log: log.logger(),
	})
	alice := []*mtwire.Conn{join(t, address, "secret=dd"+aliceKey), join(t, address, "secret="+ee(aliceKey, "a.example"))}
	join(t, address, "secret=dd"+bobKey)
	join(t, address, "secret="+ee(bobKey, "a.example"))

	setUsers(t, p, user(t, "alice", aliceKey), user(t, "carol", carolKey))
	if got := namesOf(p.Users()); !slices.Equal(got, []string{"alice", "carol"}) {
		t.Errorf("the users are %q", got)
	}
	for i, r := range ended.wait(t, 2) {
		if r.User.Name != "bob" || !errors.Is(r.Err, errUserGone) || r.Stage != FirstByteDown {
			t.Errorf("session %d: %+v", i, r)
		}
	}
	if lines := log.closed("user=bob"); len(lines) != 2 || !strings.Contains(lines[0], `cause="the user was removed`) {
		t.Errorf("%q", lines)
	}
	for _, conn := range alice {
		echo(t, conn, 1000)
	}
	join(t, address, "secret=dd"+carolKey)
	join(t, address, "secret="+ee(carolKey, "a.example"))
	fronted(t, address, visits, initOf(t, secretOf(t, bobKey).Key, mtwire.PaddedIntermediate))
}

// A rotation has three steps: a second secret is added, clients change over, and
// the first secret is removed, with the sessions that still have it.
func TestSessionsFollowTheirSecretThroughARotation(t *testing.T) {
	p := newEchoProxy(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	setUsers(t, p, user(t, "alice", aliceKey))
	first := join(t, ln.Addr(), "secret=dd"+aliceKey)
	setUsers(t, p, user(t, "alice", aliceKey, bobKey))
	echo(t, first, 3)
	second := join(t, ln.Addr(), "secret=dd"+bobKey)
	for s := range p.Sessions() {
		if u := s.User(); u != p.Users()[0] || len(u.Secrets) != 2 {
			t.Errorf("a session's user is %+v", u)
		}
	}
	setUsers(t, p, user(t, "alice", bobKey, aliceKey)) // in another order
	echo(t, first, 3)
	setUsers(t, p, user(t, "alice", bobKey))
	ended(t, first)
	echo(t, second, 3)
	setUsers(t, p, user(t, "alice", "dd"+bobKey)) // for the same key, a mode less
	ended(t, second)
}

// A session keeps its ad tag. If the user has another one, the session is closed,
// and the client's next one has it.
func TestSessionsOfAnotherAdTagAreClosed(t *testing.T) {
	p := newEchoProxy(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	alice, bob := user(t, "alice", aliceKey), user(t, "bob", bobKey)
	alice.AdTag, bob.AdTag = []byte("tag A"), []byte("tag B")
	setUsers(t, p, alice, bob)
	changed, kept := join(t, ln.Addr(), "secret=dd"+aliceKey), join(t, ln.Addr(), "secret=dd"+bobKey)
	alice.AdTag, bob.AdTag = []byte("tag C"), []byte("tag B")
	setUsers(t, p, alice, bob)
	ended(t, changed)
	echo(t, kept, 3)
	join(t, ln.Addr(), "secret=dd"+aliceKey)
	if tag := p.Users()[0].AdTag; string(tag) != "tag C" {
		t.Errorf("the ad tag is %q", tag)
	}
	bob.AdTag[0] = 'T' // the proxy has a copy
	setUsers(t, p, alice, user(t, "bob", bobKey))
	ended(t, kept)
}

// A user without a secret is one that is switched off.
func TestUserWithoutASecretHasNoSessions(t *testing.T) {
	p := newEchoProxy(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	setUsers(t, p, user(t, "alice", aliceKey), user(t, "bob", bobKey))
	off, on := join(t, ln.Addr(), "secret=dd"+aliceKey), join(t, ln.Addr(), "secret=dd"+bobKey)
	setUsers(t, p, user(t, "alice"), user(t, "bob", bobKey))
	ended(t, off)
	echo(t, on, 3)
	if n := len(p.Users()); n != 2 {
		t.Errorf("%d users", n)
	}
}

// If SetUsers returns an error, nothing has changed: not the users, the sessions,
// the fronting hosts or the memory of clients' addresses.
func TestSetUsersWithAnErrorChangesNothing(t *testing.T) {
	dc, _ := dataCenter(t)
	host, visits := frontingHost(t)
	good := append(numberedUsers(0, 100, mtproxy.Padded, ""), user(t, "alice", ee(aliceKey, "a.example")))
	p, address := startProxy(t, Config{
		Users: good, Modes: mtproxy.DD | mtproxy.EE, DataCenters: allAt(dc),
		Fronts: map[string]Front{"a.example": {Address: host}, "": {Address: "no port"}},
	})
	before := p.Users()
	conn := join(t, address, "secret="+good[5].Secrets[0].String())
	for name, bad := range map[string][]User{
		"two users of one name":          append(numberedUsers(0, 2, mtproxy.Padded, ""), user(t, "user 1", aliceKey)),
		"two users with one secret":      append(numberedUsers(0, 2, mtproxy.Padded, ""), User{Name: "bob", Secrets: good[0].Secrets}),
		"one user with one secret twice": {user(t, "bob", bobKey, bobKey)},
		"no user":                        {},
		"no secret":                      {user(t, "bob"), user(t, "carol")},
		"a domain whose front is bad":    {user(t, "bob", ee(bobKey, "b.example"))},
	} {
		if err := p.SetUsers(bad); err == nil || strings.Contains(err.Error(), bobKey) {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(p.Users(), before) {
			t.Errorf("%s: the users are %q", name, namesOf(p.Users()))
		}
		if keys := remembered(t, p, netip.MustParseAddr("127.0.0.1")); !slices.Equal(keys, [][16]byte{keyOf(5)}) {
			t.Errorf("%s: keys %x are remembered", name, keys)
		}
		echo(t, conn, 3)
	}
	setUsers(t, p, good...)
	if keys := remembered(t, p, netip.MustParseAddr("127.0.0.1")); !slices.Equal(keys, [][16]byte{keyOf(5)}) || !slices.Equal(p.Users(), before) {
		t.Errorf("after the same users again keys %x are remembered", keys)
	}
	echo(t, conn, 3)
	join(t, address, "secret="+good[0].Secrets[0].String())
	fronted(t, address, visits, []byte("GET / HTTP/1.1\r\nHost: b.example\r\n\r\nand so on, for the length of an init payload"))

	// A secret that no mode allows, in a proxy that has a mode less.
	p = newProxy(t, Config{Users: []User{user(t, "alice", aliceKey)}, Modes: mtproxy.Classic})
	if err := p.SetUsers([]User{user(t, "alice", aliceKey), user(t, "bob", "dd"+bobKey)}); err == nil || len(p.Users()) != 1 {
		t.Errorf("%v, %d users", err, len(p.Users()))
	}
}

// The users at a client's first byte count, and not those at its connection:
// clients open connections hours ahead of need.
func TestSilentConnectionsHaveTheNewUsers(t *testing.T) {
	hosts := map[string]func(net.Conn){
		"dc.test:443":    echoing(10),
		"front.test:443": func(conn net.Conn) { conn.Write([]byte("fronting")); conn.Read(make([]byte, 1)) },
	}
	config := Config{
		Users:       []User{user(t, "alice", ee(aliceKey, "a.example"))}, // without FakeTLS, no client is served
		DataCenters: at("dc.test:443"),
	}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		first, second, third := b.connect(), b.connect(), b.connect()
		synctest.Wait()
		setUsers(t, b.Proxy, user(t, "bob", bobKey), user(t, "carol", ee(carolKey, "c.example")))
		echo(t, b.joinOn(first, "dd"+bobKey, 2), 3)
		echo(t, b.joinOn(second, ee(carolKey, "c.example"), 2), 3)
		third.Write(helloOf(t, secretOf(t, aliceKey).Key, "a.example"))
		synctest.Wait()
		third.Close()
		synctest.Wait()
		if s := b.Stats(); s.Authenticated != 2 || s.Unauthenticated != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A client whose secret is removed in the middle of its handshake is closed: at
// once after its hello, and at the end of its init payload before that. No data centre
// is dialled, and its account is done.
func TestSecretThatIsRemovedDuringTheHandshakeIsRefused(t *testing.T) {
	half := initOf(t, secretOf(t, aliceKey).Key, mtwire.PaddedIntermediate)
	for name, c := range map[string]struct {
		before func(t *testing.T, conn net.Conn)
		after  []byte
		stage  Stage
	}{
		"after the hello": {func(t *testing.T, conn net.Conn) {
			conn.Write(helloOf(t, secretOf(t, aliceKey).Key, "a.example"))
			read(t, conn, 127)
			go readAll(conn)
		}, nil, ServerHelloSent},
		"in the init payload": {func(t *testing.T, conn net.Conn) { conn.Write(half[:40]) }, half[40:], Authenticated},
	} {
		ended, account := &reports{}, &testAccount{}
		config := Config{
			Users:  []User{user(t, "alice", aliceKey), user(t, "bob", bobKey)},
			Traces: []*Trace{ended.trace()},
			Policy: admitTo(account),
		}
		inBubble(t, config, nil, func(t *testing.T, b *bubble) {
			conn := b.connect()
			c.before(t, conn)
			synctest.Wait()
			setUsers(t, b.Proxy, user(t, "bob", bobKey))
			conn.Write(c.after)
			synctest.Wait()
			all := ended.wait(t, 1)
			if r := all[0]; len(all) != 1 || !errors.Is(r.Err, errUserGone) || r.Stage != c.stage || r.User.Name != "alice" {
				t.Errorf("%s: %+v", name, all)
			}
			if done := account.reports(); len(done) != 1 || done[0] != all[0] {
				t.Errorf("%s: %+v", name, done)
			}
			if s := b.Stats(); s.Open != 0 || s.Unreachable != 0 || s.Refused != 0 || s.Unauthenticated != 0 {
				t.Errorf("%s: %+v", name, s)
			}
		})
	}
}

// readAll reads conn to its end.
func readAll(conn net.Conn) {
	for b := make([]byte, 1000); ; {
		if _, err := conn.Read(b); err != nil {
			return
		}
	}
}

// While users come and go, a user that stays has no failures, and at the end there
// is no session of a user that is gone, or with the user of an older list.
func TestSetUsersBesideClients(t *testing.T) {
	dc, _ := dataCenter(t)
	host, _ := frontingHost(t)
	p, address := startProxy(t, Config{
		Users:       []User{user(t, "alice", aliceKey)},
		DataCenters: allAt(dc), Fronts: map[string]Front{"": {Address: host}},
	})
	var clients, operator sync.WaitGroup
	clientsEnded := make(chan struct{})
	operator.Go(func() {
		lists := [][]User{
			{user(t, "alice", aliceKey), user(t, "bob", bobKey)},
			{user(t, "alice", carolKey, aliceKey)},
			{user(t, "bob", bobKey), user(t, "alice", aliceKey)},
		}
		for i := 0; ; i++ {
			select {
			case <-clientsEnded:
				return
			default:
				setUsers(t, p, lists[i%len(lists)]...)
			}
		}
	})
	for i := range 4 {
		clients.Go(func() {
			for range 15 {
				if i%2 == 0 {
					join(t, address, "secret=dd"+aliceKey)
					continue
				}
				conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?secret=dd"+bobKey, nil)
				if err != nil {
					t.Error(err)
					return
				}
				conn.Send(short(t), payload(3)) // bob may be gone
				conn.Receive(short(t))
				if i%4 == 1 {
					conn.Close()
					continue
				}
				t.Cleanup(func() { conn.Close() })
			}
		})
	}
	clients.Wait()
	close(clientsEnded)
	operator.Wait()
	setUsers(t, p, user(t, "alice", aliceKey))
	eventually(t, "no session of bob", func() bool {
		for s := range p.Sessions() {
			if u := s.User(); u != nil && u.Name == "bob" {
				return false
			}
		}
		return true
	})
	n := 0
	for s := range p.Sessions() {
		if u := s.User(); u == p.Users()[0] {
			n++
		} else if u != nil { // neither authenticated nor of this list
			t.Errorf("a session's user is %+v", u)
		}
	}
	if n != 30 {
		t.Errorf("alice has %d sessions", n)
	}
}

// A new domain gets its own fronting host, which browsers see, and loses it with
// its last secret.
func TestNewDomainsGetTheirFrontingHost(t *testing.T) {
	hostA, certificateA := site(t, "this is A")
	hostB, certificateB := site(t, "this is B")
	p, address := startProxy(t, Config{
		Users: []User{user(t, "alice", ee(aliceKey, "a.example"))},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			address = map[string]string{"a.example:443": hostA, "b.example:443": hostB}[address]
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	})
	check := func(when string, want []byte) {
		t.Helper()
		if certificate, text := browse(t, address, "b.example"); !slices.Equal(certificate, want) {
			t.Errorf("%s: a browser of b.example sees %q", when, text)
		}
	}
	check("before", certificateA)
	setUsers(t, p, user(t, "alice", ee(aliceKey, "a.example")), user(t, "bob", ee(bobKey, "B.example")))
	check("with a secret", certificateB)
	setUsers(t, p, user(t, "alice", ee(aliceKey, "a.example")))
	check("without", certificateA)
}

// The proxy keeps its own copy of users, and returns them by name.
func TestUsersAreCopiedAndSorted(t *testing.T) {
	given := []User{user(t, "carol", carolKey), user(t, "", aliceKey), user(t, "bob", bobKey)}
	p := newProxy(t, Config{Users: given})
	given[2].Name, given[2].Secrets[0] = "dan", secretOf(t, mtwiretest.PlainSecret)
	users := p.Users()
	if got := namesOf(users); !slices.Equal(got, []string{"", "bob", "carol"}) || users[1].Secrets[0] != secretOf(t, bobKey) {
		t.Errorf("%q, %v", got, users[1].Secrets)
	}
}

// reports collects the last reports of sessions.
type reports struct {
	mu  sync.Mutex
	all []Report
}

func (r *reports) trace() *Trace {
	return &Trace{Closed: func(s Session, last Report) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = append(r.all, last)
	}}
}

// wait returns the reports when there are n.
func (r *reports) wait(t *testing.T, n int) []Report {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		all := slices.Clone(r.all)
		r.mu.Unlock()
		if len(all) >= n {
			return all
		}
		if time.Now().After(end) {
			t.Fatalf("%d sessions of %d have ended", len(all), n)
		}
	}
}

// policyFunc is a function as a Policy.
type policyFunc func(context.Context, Session) (Account, error)

func (f policyFunc) Admit(ctx context.Context, s Session) (Account, error) { return f(ctx, s) }
