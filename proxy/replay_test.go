package proxy

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/replay"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A recorded handshake that is sent again gets the fronting host, with FakeTLS
// records and without, also with another time, and from the next proxy with the
// same state directory.
func TestReplayedHandshakesAreNotAnswered(t *testing.T) {
	dc, _ := dataCenter(t)
	host, visits := frontingHost(t)
	dir := t.TempDir()
	run := func() (address net.Addr, cache *replay.Memory) {
		cache, err := replay.Open(dir, replay.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return start(t, Config{DataCenters: allAt(dc), Fronts: map[string]Front{"": {Address: host}}, ClockWindow: -1, Replay: cache}), cache
	}
	address, cache := run()
	var recorded [][]byte
	for _, m := range mtwiretest.ProxiedModes() {
		handshake := record(t, address, m)
		fronted(t, address, visits, handshake)
		recorded = append(recorded, handshake)
		if strings.Contains(m.Transport, "faketls") {
			redated := slices.Clone(handshake)
			redated[timeOffset] ^= 1
			fronted(t, address, visits, redated)
			recorded = append(recorded, redated)
		}
	}
	if err := cache.Close(); err != nil {
		t.Fatal(err)
	}
	address, cache = run()
	defer cache.Close()
	for _, handshake := range recorded {
		fronted(t, address, visits, handshake)
	}
}

// Without Config.Replay handshakes are remembered as well.
func TestReplayedHandshakesAreNotAnsweredByDefault(t *testing.T) {
	dc, _ := dataCenter(t)
	host, visits := frontingHost(t)
	address := start(t, Config{DataCenters: allAt(dc), Fronts: map[string]Front{"": {Address: host}}})
	for _, m := range mtwiretest.ProxiedModes() {
		fronted(t, address, visits, record(t, address, m))
	}
}

// The handshake of a client that the policy refuses is remembered: its recording is not
// answered when its user has room, and the client's own next handshake is. So it is in
// every mode, and if the key belongs to two users, of whom one is admitted.
func TestRefusedHandshakesCannotBeReplayed(t *testing.T) {
	host, visits := frontingHost(t)
	dc, _ := dataCenter(t)
	var full atomic.Bool
	p, address := startProxy(t, Config{
		Users: []User{
			user(t, "alice", ee(aliceKey, "a.example")), user(t, "bob", aliceKey),
			user(t, "carol", ee(bobKey, "b.example")), user(t, "dave", "dd"+bobKey),
		},
		Fronts:      map[string]Front{"": {Address: host}},
		DataCenters: allAt(dc),
		Policy: policyFunc(func(_ context.Context, s Session) (Account, error) {
			if full.Load() || s.User().Name == "alice" {
				return nil, errors.New("no room")
			}
			return nil, nil
		}),
	})
	full.Store(true)
	var recorded [][]byte
	for _, first := range [][]byte{
		helloOf(t, secretOf(t, bobKey).Key, "b.example"),
		initOf(t, secretOf(t, aliceKey).Key, mtwire.Abridged),
		initOf(t, secretOf(t, aliceKey).Key, mtwire.PaddedIntermediate),
		initOf(t, secretOf(t, bobKey).Key, mtwire.Abridged), // a mode that is not allowed either
	} {
		fronted(t, address, visits, first)
		recorded = append(recorded, first)
	}
	full.Store(false)
	for n, first := range recorded {
		t.Log(n)
		fronted(t, address, visits, first)
	}
	if s := p.Stats(); s.Authenticated != 0 {
		t.Errorf("%+v", s)
	}
	echo(t, join(t, address, "secret="+ee(bobKey, "b.example")), 3)
	echo(t, join(t, address, "secret="+ee(aliceKey, "a.example")), 3) // bob's key too
}

// A handshake without a secret is not remembered: such clients cannot fill the cache.
func TestHandshakesWithoutASecretAreNotRemembered(t *testing.T) {
	host, visits := frontingHost(t)
	cache := &countingReplays{}
	_, address := startProxy(t, Config{
		Users:  []User{user(t, "alice", aliceKey, ee(aliceKey, "a.example"))},
		Fronts: map[string]Front{"": {Address: host}},
		Policy: admitTo(&testAccount{}),
		Replay: cache,
	})
	fronted(t, address, visits, helloOf(t, secretOf(t, bobKey).Key, "a.example"))
	fronted(t, address, visits, initOf(t, secretOf(t, bobKey).Key, mtwire.PaddedIntermediate))
	if n := cache.calls.Load(); n != 0 {
		t.Errorf("%d are remembered", n)
	}
}

// countingReplays is a ReplayCache that counts its calls.
type countingReplays struct{ calls atomic.Int64 }

func (c *countingReplays) Seen([16]byte) bool { c.calls.Add(1); return false }

// timeOffset is where the time begins in a FakeTLS client's first record, after the
// headers of record and handshake, the version, and 28 of the 32 bytes of the
// random.
const timeOffset = 5 + 4 + 2 + 28

// record returns what a client sends that is served, up to its first packet.
func record(t *testing.T, address net.Addr, m mtwiretest.Mode) []byte {
	t.Helper()
	recorder := &writeRecorder{}
	conn, err := mtwire.Dial(short(t), m.Endpoint(address), &mtwire.DialConfig{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			socket, err := (&net.Dialer{}).DialContext(ctx, network, address)
			recorder.Conn = socket
			return recorder, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	echo(t, conn, 3)
	conn.Close()
	return recorder.sent
}

// writeRecorder keeps what is written.
type writeRecorder struct {
	net.Conn
	sent []byte
}

func (r *writeRecorder) Write(p []byte) (int, error) {
	r.sent = append(r.sent, p...)
	return r.Conn.Write(p)
}
