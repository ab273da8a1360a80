package loadgen

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// The error for a proxy without an answer has the cause and the probable reason, and
// no secret.
func TestErrorExplainsAProxyThatDoesNotAnswer(t *testing.T) {
	dc := startDataCenter(t)
	wrong := "00112233445566778899aabbccddeeff"
	other := mtwiretest.NewDataCenter(nil)
	t.Cleanup(other.Close)
	gone := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} // no server of a test gets that port
	closing := serveEach(t, func(conn net.Conn) { conn.Read(make([]byte, 1)) })
	// It connects to the data centre and sends nothing.
	mute := serveEach(t, func(conn net.Conn) {
		if server, err := net.Dial("tcp", dc.Addr().String()); err == nil {
			defer server.Close()
		}
		discard(conn)
	})
	padded := "secret=" + mtwiretest.PaddedSecret
	for want, ep := range map[string]mtwire.Endpoint{
		"the proxy gave no answer within 1s: wrong secret, or it does not route DC 2 to " + dc.Addr().String(): endpoint(t,
			startProxy(t, wrong, dc.Addr().String()), padded),
		"the proxy closed the connection without an answer: wrong secret, or it does not route DC 4 to": endpoint(t,
			closing, padded+"&dc=4"),
		"the proxy routes DC 2 elsewhere": endpoint(t,
			startProxy(t, mtwiretest.PaddedSecret, other.Addr().String()), padded),
		"cannot connect to the proxy":            endpoint(t, gone, padded),
		"but no answer came back":                endpoint(t, mute, padded),
		"the proxy did not answer as an MTProxy": endpoint(t, serveEach(t, func(conn net.Conn) { conn.Write(make([]byte, 500)); discard(conn) }), "secret="+mtwiretest.FakeTLSSecret),
	} {
		plan := smallPlan(dc, ep)
		if strings.Contains(want, "within 1s") || strings.Contains(want, "no answer came") { // which take all of it
			plan.Timeout = time.Second
		}
		if err := loopback.Undisturbed(plan.Timeout/4, func() error {
			report, err := Run(testContext(t), plan)
			if err == nil || !strings.Contains(err.Error(), want) {
				return fmt.Errorf("%w\nwant %s", err, want)
			}
			if strings.Contains(err.Error(), mtwiretest.PlainSecret) || report.Measured() {
				t.Errorf("%v, %+v", err, report.Proxy)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}

// The error for a proxy with a limit on connections has the number of connections
// that are open.
func TestErrorExplainsALimitOnConnections(t *testing.T) {
	dc := startDataCenter(t)
	room := make(chan struct{}, warmUp+10)
	limited := serveEach(t, func(conn net.Conn) {
		select {
		case room <- struct{}{}:
			defer func() { <-room }()
			server, err := net.Dial("tcp", dc.Addr().String())
			if err != nil {
				return
			}
			defer server.Close()
			go copyOneWay(conn, server, func() { server.Close() })
			copyOneWay(server, conn, func() { server.Close() })
		default:
		}
	})
	plan := smallPlan(dc, direct(limited))
	plan.Phases = []Phase{PhaseIdle}
	_, err := Run(testContext(t), plan)
	if err == nil || !strings.Contains(err.Error(), "idle: through the proxy: with ") ||
		!strings.Contains(err.Error(), "perhaps by a limit on connections") {
		t.Error(err)
	}
}
