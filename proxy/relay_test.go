package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Packets of every size pass both ways, and the data centre sees the client's
// framing and DC.
func TestClientsOfEveryModeAreRelayed(t *testing.T) {
	dc, transports := dataCenter(t)
	address := start(t, Config{DataCenters: allAt(dc)})
	for _, m := range mtwiretest.ProxiedModes() {
		conn, err := mtwire.Dial(short(t), m.Endpoint(address), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, blocks := range []int{3, 64, 5000, 200000} {
			sent := payload(blocks)
			if err := conn.Send(short(t), sent); err != nil {
				t.Fatal(err)
			}
			p, err := conn.Receive(short(t))
			if err != nil || !bytes.Equal(p.Payload, sent) {
				t.Fatalf("%s: %d bytes of %d came back, %v", m.Transport, len(p.Payload), len(sent), err)
			}
		}
		conn.Close()
		seen := <-transports
		if int(seen.DC) != m.DC || !strings.HasSuffix(m.Transport, seen.Protocol.String()) || !seen.Obfuscated {
			t.Errorf("%s, DC %d: the data centre saw %v, DC %v", m.Transport, m.DC, seen, seen.DC)
		}
	}
}

func TestAnswerArrivesAfterAHalfClose(t *testing.T) {
	dc, _ := dataCenter(t)
	address := start(t, Config{DataCenters: allAt(dc)})
	socket, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	secret := secretOf(t, mtwiretest.PaddedSecret)
	conn, err := mtwire.Client(short(t), socket, mtwire.Endpoint{Secret: secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sent := payload(100000)
	if err := conn.Send(short(t), sent); err != nil {
		t.Fatal(err)
	}
	socket.(*net.TCPConn).CloseWrite()
	p, err := conn.Receive(short(t))
	if err != nil || !bytes.Equal(p.Payload, sent) {
		t.Errorf("%d bytes, %v", len(p.Payload), err)
	}
	if _, err := conn.Receive(short(t)); err != io.EOF {
		t.Errorf("and then %v", err)
	}
}

// An upstream that accepts and reads nothing does not keep the proxy from
// closing: newProxy's cleanup is the test.
func TestProxyClosesBesideAStalledDataCenter(t *testing.T) {
	near, _ := net.Pipe()
	dialled := make(chan struct{})
	address := start(t, Config{DialContext: func(context.Context, string, string) (net.Conn, error) {
		close(dialled)
		return near, nil
	}})
	conn := dial(t, address, "secret="+mtwiretest.PaddedSecret)
	if err := conn.Send(short(t), payload(3)); err != nil {
		t.Fatal(err)
	}
	<-dialled
}

// The proxy tries a bounded number of addresses, and other clients are relayed.
func TestUnreachableDataCenterClosesItsClientOnly(t *testing.T) {
	dc, _ := dataCenter(t)
	tries := make(chan string, 100)
	address := start(t, Config{
		DataCenters: map[datacenter.DC][]string{4: {dc.String()}},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == dc.String() {
				return (&net.Dialer{}).DialContext(ctx, network, address)
			}
			tries <- address
			return nil, errors.New("refused")
		},
	})
	visit := func(dc string) error {
		conn := dial(t, address, "dc="+dc+"&secret="+mtwiretest.PaddedSecret)
		if err := conn.Send(short(t), payload(3)); err != nil {
			t.Fatal(err)
		}
		_, err := conn.Receive(short(t))
		return err
	}
	if err := visit("2"); !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Errorf("the client of DC 2: %v", err)
	}
	if n := len(tries); n < 2 || n > 4 {
		t.Errorf("%d tries", n)
	}
	if err := visit("77"); err == nil {
		t.Error("DC 77 exists")
	}
	for _, dc := range []string{"4", "-4"} { // the media DC is at the main DC's address
		if err := visit(dc); err != nil {
			t.Errorf("the client of DC %s: %v", dc, err)
		}
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	good := onlyUser(t, mtwiretest.PlainSecret)
	for name, config := range map[string]Config{
		"no user":                        {},
		"a trusted prefix of no network": {Users: good, TrustedProxies: []netip.Prefix{{}}},
		"a front without a port":         {Users: good, Fronts: map[string]Front{"": {Address: "front.test"}}},
		"an empty data centre":           {Users: good, DataCenters: map[datacenter.DC][]string{2: nil}},
		"an unknown default":             {Users: good, DefaultDC: 77},
		"a zero secret":                  {Users: []User{{Name: "alice", Secrets: []mtproxy.Secret{good[0].Secrets[0], {}}}}},
		"a web site without Serve":       {Users: good, Web: &WebSite{Host: "site.test"}},
		"a web site without a host":      {Users: good, Web: &WebSite{Serve: func(*WebConn) {}}},
		"a negative time limit":          {Users: good, DialTimeout: -1},
		"a negative limit":               {Users: good, MaxUnauthenticated: -1},
		"one of an address":              {Users: good, MaxUnauthenticatedPerAddress: -1},
		"one of the fronting host":       {Users: good, MaxFronted: -1},
		"one of searches":                {Users: good, SearchProcessors: -1},
	} {
		if _, err := New(config); err == nil {
			t.Errorf("%s is accepted", name)
		} else if name == "a front without a port" && !strings.Contains(err.Error(), "front.test") {
			t.Errorf("%v does not name the front", err)
		}
		if p, err := New(Config{Users: good}); err != nil || name != "no user" && p.Reconfigure(config) == nil {
			t.Errorf("%s is accepted by Reconfigure, or %v", name, err)
		}
	}
}
