package proxy

import (
	"context"
	"net"
	"slices"
	"strings"
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
