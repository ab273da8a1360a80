package proxy_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
)

// A proxy stands in front of a data centre, and a client goes through it.
func Example() {
	dc := mtwiretest.NewDataCenter(nil)
	defer dc.Close()
	secret, err := mtproxy.ParseSecret(mtwiretest.FakeTLSSecret)
	if err != nil {
		log.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{
		Users:       []proxy.User{{Name: "alice", Secrets: []mtproxy.Secret{secret}}},
		DataCenters: map[datacenter.DC][]string{0: {dc.Addr().String()}}, // all of them
		// Unauthenticated clients are tunneled to the secret's domain. Here they
		// are tunneled to the data centre.
		Fronts: map[string]proxy.Front{"": {Address: dc.Addr().String()}},
		Log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	go p.Serve(ctx, ln) // until Close

	conn, err := mtwire.Dial(ctx, "tcp://"+ln.Addr().String()+"?secret="+mtwiretest.FakeTLSSecret, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	message, _ := mtwiretest.Seal([]byte("hi there"), frame.Client)
	if err := conn.Send(ctx, message); err != nil {
		log.Fatal(err)
	}
	packet, err := conn.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	data, _, err := mtwiretest.Open(packet.Payload, frame.Server)
	fmt.Printf("%s, %v\n", data, err)
	for session := range p.Sessions() {
		r := session.Report()
		fmt.Printf("%s in %v mode, at DC %v\n", r.User.Name, r.Mode, r.DC)
	}
	// Output:
	// hi there, <nil>
	// alice in ee mode, at DC 2
}

// A change is checked as a whole before anything changes. Sessions go on.
func ExampleProxy_Prepare() {
	secret, err := mtproxy.ParseSecret(mtwiretest.PaddedSecret)
	if err != nil {
		log.Fatal(err)
	}
	config := proxy.Config{Users: []proxy.User{{Name: "alice", Secrets: []mtproxy.Secret{secret}}}}
	p, err := proxy.New(config)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	next := config
	socks, err := proxy.ParseUpstream("socks5://user:password@127.0.0.1:1080?weight=3")
	if err != nil {
		log.Fatal(err)
	}
	next.Upstreams = []proxy.Upstream{socks, {}} // the latter is direct
	next.DefaultDC = 77
	_, err = p.Prepare(next)
	fmt.Println(err)

	next.DefaultDC = 2
	change, err := p.Prepare(next)
	if err != nil {
		log.Fatal(err)
	}
	change.Apply()
	for _, upstream := range p.Upstreams() {
		fmt.Println(upstream.Upstream, upstream.Weight)
	}
	// Output:
	// route: default data centre 77: no data centre has this number
	// socks5://127.0.0.1:1080 3
	// direct 1
}
