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
