package route

import (
	"errors"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/obfuscation"
)

// The data centre receives the client's framing and number. In fast mode it sends
// in the client's download key stream, otherwise in another.
func TestDirectUpstreamCarriesBytes(t *testing.T) {
	address, transports := dataCenter(t)
	for _, fast := range []bool{true, false} {
		r := router(t, Config{DataCenters: at(address), DisableFastMode: !fast})
		for _, protocol := range []frame.Protocol{frame.Abridged, frame.Intermediate, frame.PaddedIntermediate} {
			download := keyStream()
			upstream, err := r.Dial(short(t), Request{DC: -10002, Protocol: protocol, Download: download})
			if err != nil {
				t.Fatal(err)
			}
			if _, bare := upstream.Stream.Conn.(*net.TCPConn); !bare || upstream.Via != "direct" || upstream.Address != address || (upstream.Stream.Receive == nil) != fast {
				t.Errorf("%T to %s via %s, in fast mode: %v", upstream.Stream.Conn, upstream.Address, upstream.Via, upstream.Stream.Receive == nil)
			}
			shared := true // 8..56 is the client's download key stream, reversed
			for i, b := range download {
				shared = shared && upstream.Stream.Init[55-i] == b
			}
			if shared != fast {
				t.Errorf("the init payload has the client's key stream: %v", shared)
			}
			echo(t, upstream, protocol, download)
			if seen := <-transports; seen.DC != -10002 || seen.Protocol != protocol {
				t.Errorf("the data centre received %v, DC %v", seen, seen.DC)
			}
		}
	}
}

// The init payload has the number of the default, in place of the unknown one.
func TestInitPayloadHasTheNumberOfTheDefaultDataCenter(t *testing.T) {
	address, transports := dataCenter(t)
	r := router(t, Config{Default: 4, DataCenters: map[datacenter.DC][]string{4: {address}}})
	upstream, err := r.Dial(short(t), Request{DC: 77, Protocol: frame.Intermediate})
	if err != nil {
		t.Fatal(err)
	}
	echo(t, upstream, frame.Intermediate, nil)
	if seen := <-transports; seen.DC != 4 {
		t.Errorf("the init payload has DC %v", seen.DC)
	}
}

// Full has no tag for the init payload.
func TestFullIsRefusedBeforeAnyAddressIsDialled(t *testing.T) {
	n := &network{}
	r := router(t, Config{DialContext: n.DialContext})
	if _, err := r.Dial(t.Context(), Request{DC: 2, Protocol: frame.Full}); !errors.Is(err, obfuscation.ErrFull) || n.dialed != nil {
		t.Errorf("%v, %v", err, n.dialed)
	}
}

// With real loopback servers, failover leaves no goroutine behind.
func TestFailoverLeavesNoGoroutineBehind(t *testing.T) {
	address, transports := dataCenter(t)
	dead := deadAddress(t)
	ln := listen(t)
	serve(t, ln, func(net.Conn) error { return nil }) // closes at once
	once := func(config Config) {
		download := keyStream()
		upstream, err := router(t, config).Dial(short(t), Request{DC: 2, Protocol: frame.Intermediate, Download: download})
		if err != nil {
			t.Fatal(err)
		}
		if upstream.Via != "direct" || upstream.Address != address {
			t.Errorf("%s via %s", upstream.Address, upstream.Via)
		}
		echo(t, upstream, frame.Intermediate, download)
		<-transports
	}
	const rounds = 20
	before := runtime.NumGoroutine()
	for range rounds {
		once(Config{DataCenters: at(dead, address)})
		once(Config{DataCenters: at(dead, address), Upstreams: upstreams(t, "socks5://"+dead, "direct")})
		once(Config{DataCenters: at(address), Upstreams: upstreams(t, "socks5://"+dead, "http://"+ln.Addr().String(), "direct")})
	}
	after := 0
	for range 3000 { // servers take a moment to detect that a connection is closed
		if after = runtime.NumGoroutine(); after < before+rounds {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, after)
}
