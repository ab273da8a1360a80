package route

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// An MTProxy as the upstream, with a plain, dd or ee secret, receives the client's
// number and framing.
func TestUpstreamGoesThroughAnotherMTProxy(t *testing.T) {
	for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		parsed, err := mtproxy.ParseSecret(secret)
		if err != nil {
			t.Fatal(err)
		}
		address, transports := dataCenter(t, parsed)
		_, port, _ := net.SplitHostPort(address)
		r := router(t, Config{Upstreams: upstreams(t, "tg://proxy?server=127.0.0.1&port="+port+"&secret="+secret)})
		for _, protocol := range []frame.Protocol{frame.Abridged, frame.PaddedIntermediate} {
			for _, dc := range []datacenter.DC{-4, 10002, 203} {
				upstream, err := r.Dial(short(t), Request{DC: dc, Protocol: protocol, Download: keyStream()})
				if err != nil {
					t.Fatal(err)
				}
				if _, bare := upstream.Stream.Conn.(*net.TCPConn); !bare || upstream.Stream.Receive == nil || upstream.Address != address || strings.Contains(upstream.Via, mtwiretest.PlainSecret) {
					t.Errorf("%T to %s via %s", upstream.Stream.Conn, upstream.Address, upstream.Via)
				}
				echo(t, upstream, protocol, nil)
				seen := <-transports
				if seen.DC != dc || seen.Protocol != protocol || seen.Secret != 0 || seen.FakeTLS != (parsed.Mode == mtproxy.FakeTLS) {
					t.Errorf("the next proxy received %v, DC %v", seen, seen.DC)
				}
			}
		}
	}
}

// A wrong ee secret fails the handshake, and Dial tries the next upstream. The error
// does not contain the secret.
func TestMTProxyWithAnotherSecretIsSkipped(t *testing.T) {
	ln := listen(t)
	serve(t, ln, func(conn net.Conn) error {
		config := &mtwire.ListenConfig{
			Secrets:         []mtwire.Secret{{Key: [16]byte{1}}},
			Unauthenticated: func(context.Context, net.Conn, error) {}, // closes conn
		}
		return mtwire.Server(conn, config).Handshake(context.Background())
	})
	address, transports := dataCenter(t)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	link := "tg://proxy?server=127.0.0.1&port=" + port + "&secret=" + mtwiretest.FakeTLSSecret
	r := router(t, Config{DataCenters: at(address), Upstreams: upstreams(t, link)})
	_, err := r.Dial(short(t), Request{DC: 2, Protocol: frame.Abridged})
	if err == nil || strings.Contains(err.Error(), mtwiretest.PlainSecret) || !strings.Contains(err.Error(), "(mtproxy "+ln.Addr().String()+" faketls:[redacted]:example.com)") {
		t.Errorf("%v", err)
	}
	r = router(t, Config{DataCenters: at(address), Upstreams: upstreams(t, link, "direct")})
	upstream, err := r.Dial(short(t), Request{DC: 2, Protocol: frame.Abridged})
	if err != nil || upstream.Via != "direct" {
		t.Fatalf("%v, %v", upstream, err)
	}
	echo(t, upstream, frame.Abridged, nil)
	<-transports
}
