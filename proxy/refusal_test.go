package proxy

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtproxy"
)

// A client that the policy refuses gets its fronting host's answer to its own bytes, as
// a client without a secret does, in every mode. It is logged with its cause, it has no
// user, and the end of its user does not end it.
func TestRefusedClientsSeeTheFrontingHost(t *testing.T) {
	host, visits := frontingHost(t)
	full := errors.New("alice has enough connections")
	account, ended, log := &testAccount{}, &reports{}, &logBuffer{}
	refused := make(chan string, 10)
	p, address := startProxy(t, Config{
		Users:  []User{user(t, "alice", aliceKey), user(t, "bob", ee(bobKey, "b.example"))},
		Fronts: map[string]Front{"": {Address: host}},
		Log:    log.logger(),
		Traces: []*Trace{ended.trace(), {Refused: func(s Session, cause error) {
			refused <- s.User().Name + ": " + cause.Error()
		}}},
		Policy: policyFunc(func(context.Context, Session) (Account, error) { return account, full }),
	})
	for name, first := range map[string][]byte{
		"classic": initOf(t, secretOf(t, aliceKey).Key, mtwire.Abridged),
		"dd":      initOf(t, secretOf(t, aliceKey).Key, mtwire.PaddedIntermediate),
		"ee":      helloOf(t, secretOf(t, aliceKey).Key, "b.example"),
	} {
		t.Log(name)
		fronted(t, address, visits, first)
		if got := <-refused; got != "alice: "+full.Error() {
			t.Error(got)
		}
	}
	for _, r := range ended.wait(t, 3) {
		if r.Stage != ClientBytes || r.User != nil || r.Front != "b.example" || !errors.Is(r.Err, full) {
			t.Errorf("%+v", r)
		}
	}
	if lines := log.closed(full.Error()); len(lines) != 3 {
		t.Error(lines)
	}
	if s := p.Stats(); s.Refused != 3 || s.Unauthenticated != 3 || s.Authenticated != 0 || s.Unreachable != 0 {
		t.Errorf("%+v", s)
	}
	if len(account.reports()) != 0 {
		t.Error("the account of a refused client is used")
	}

	visitor, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer visitor.Close()
	visitor.Write(initOf(t, secretOf(t, aliceKey).Key, mtwire.PaddedIntermediate))
	<-refused
	read(t, visitor, len("fronting"))
	setUsers(t, p, user(t, "bob", ee(bobKey, "b.example")))
	visitor.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, err := visitor.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "EOF") { // the host's half-close
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := visitor.Write([]byte("more")); err != nil || p.Stats().Open != 1 {
		t.Errorf("the end of its user ends a refused client: %v, %+v", err, p.Stats())
	}
}

// A client that is admitted and turns out to be unauthenticated gives its account back
// at once, while it is tunneled: after a replay, and in a mode that is not allowed.
func TestUnauthenticatedClientsGiveTheirAccountBack(t *testing.T) {
	host, visits := frontingHost(t)
	account := &testAccount{}
	_, address := startProxy(t, Config{
		Users:  []User{user(t, "alice", aliceKey, ee(aliceKey, "a.example")), user(t, "bob", "dd"+bobKey)},
		Fronts: map[string]Front{"": {Address: host}},
		Policy: admitTo(account),
		Replay: replays{},
	})
	for n, first := range [][]byte{
		helloOf(t, secretOf(t, aliceKey).Key, "a.example"),
		initOf(t, secretOf(t, aliceKey).Key, mtwire.PaddedIntermediate),
		initOf(t, secretOf(t, bobKey).Key, mtwire.Abridged),
	} {
		conn, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write(first)
		for !slices.Equal(<-visits, first) {
		}
		read(t, conn, len("fronting"))
		if done := account.reports(); len(done) != n+1 || done[n].Stage != ClientBytes {
			t.Errorf("%+v", done)
		}
	}
}

// The policy is asked once about a client that it refuses, however often its key is met:
// among those that its address has used, among those of the latest newcomers, and among
// all. So its first answer holds.
func TestPolicyIsAskedOnceAboutARefusedClient(t *testing.T) {
	host, visits := frontingHost(t)
	dc, _ := dataCenter(t)
	users := slices.Concat(
		numberedUsers(0, 100, mtproxy.Padded, ""), numberedUsers(100, 100, mtproxy.FakeTLS, "a.example"),
	)
	var asked, notified atomic.Int64
	var full atomic.Bool
	p, address := startProxy(t, Config{
		Users:       users,
		Fronts:      map[string]Front{"": {Address: host}},
		DataCenters: allAt(dc),
		Traces:      []*Trace{{Refused: func(Session, error) { notified.Add(1) }}},
		Policy: policyFunc(func(context.Context, Session) (Account, error) {
			if full.Load() && asked.Add(1)%2 == 1 {
				return nil, errors.New("no room")
			}
			return nil, nil
		}),
	})
	for n, first := range [][]byte{
		initOf(t, keyOf(90), mtwire.PaddedIntermediate),
		helloOf(t, keyOf(190), "a.example"),
	} {
		full.Store(false)
		echo(t, join(t, address, "secret="+users[90+100*n].Secrets[0].String()), 3) // remembered
		asked.Store(0)
		full.Store(true)
		fronted(t, address, visits, first)
		if a, s := asked.Load(), p.Stats(); a != 1 || s.Refused != int64(n+1) || notified.Load() != int64(n+1) {
			t.Errorf("asked %d times, %d refusals, %d notified", a, s.Refused, notified.Load())
		}
	}
}

// replays is a ReplayCache that has seen everything.
type replays struct{}

func (replays) Seen([16]byte) bool { return true }

// If two users have the same key, the policy is asked about each, and one that admits
// the client is enough.
func TestEachUserOfAKeyIsAskedAbout(t *testing.T) {
	host, _ := frontingHost(t)
	dc, _ := dataCenter(t)
	asked := make(chan string, 10)
	_, address := startProxy(t, Config{
		Users:       []User{user(t, "alice", ee(aliceKey, "a.example")), user(t, "bob", aliceKey)},
		Fronts:      map[string]Front{"": {Address: host}},
		DataCenters: allAt(dc),
		Policy: policyFunc(func(_ context.Context, s Session) (Account, error) {
			asked <- s.User().Name
			if s.User().Name == "alice" {
				return nil, errors.New("disabled")
			}
			return nil, nil
		}),
	})
	conn := dial(t, address, "secret="+ee(aliceKey, "a.example"))
	echo(t, conn, 3)
	if first, second := <-asked, <-asked; first != "alice" || second != "bob" {
		t.Error(first, second)
	}
}
