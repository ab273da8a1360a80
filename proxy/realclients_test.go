package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// testDataCenter starts a data centre of mtwiretest and returns its connections.
func testDataCenter(t *testing.T) (net.Addr, <-chan mtwiretest.Event) {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	connected := make(chan mtwiretest.Event, 100)
	dc := &mtwiretest.DataCenter{Listener: ln, Log: func(e mtwiretest.Event) {
		if e.Event == "connected" {
			connected <- e
		}
	}}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- dc.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-served })
	return ln.Addr(), connected
}

// plainSecretTags are the framings that clients use with a plain secret.
var plainSecretTags = map[string]mtwire.Protocol{
	"Telegram Desktop, Android, GramJS": mtwire.Abridged,
	"TDLib, mtcute":                     mtwire.Intermediate,
	"gotd":                              mtwire.PaddedIntermediate,
}

// classicClient connects to a proxy with an init payload alone, in any framing,
// whatever the mode of the proxy's secret.
func classicClient(t *testing.T, address net.Addr, protocol mtwire.Protocol) *mtwire.Conn {
	t.Helper()
	conn, err := mtwire.DialEndpoint(short(t), mtwire.Endpoint{
		Address: address.String(), Protocol: protocol, DC: 2, Secret: secretOf(t, mtwiretest.PlainSecret),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Clients choose different tags for a plain secret. All are served, and the data
// centre sees the tag that the client chose. Two requests in a row get two
// answers.
func TestEachClientChoosesItsTagForAPlainSecret(t *testing.T) {
	dc, connected := testDataCenter(t)
	address := start(t, Config{DataCenters: allAt(dc)})
	for name, protocol := range plainSecretTags {
		conn := classicClient(t, address, protocol)
		nonce := [16]byte(bytes.Repeat([]byte{0xa0}, 16))
		for range 2 {
			if err := conn.Send(short(t), mtwiretest.AppendReqPQ(nil, nonce, make([]byte, 252))); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			p, err := conn.Receive(short(t))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := mtwiretest.CheckResPQ(p.Payload, nonce); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if e := <-connected; e.Protocol != protocol.String() || e.DC == nil || *e.DC != 2 {
			t.Errorf("%s: the data centre saw %v", name, e)
		}
	}
}

// GramJS sends tag efefefef with a dd secret as well. If the proxy's secret is
// plain, that is classic mode. If it is a dd secret, only tag dddddddd is
// accepted, and other clients are unauthenticated.
func TestTagDecidesAndNotTheClientsLink(t *testing.T) {
	dc, _ := testDataCenter(t)
	for name, protocol := range plainSecretTags {
		host, visits := frontingHost(t)
		address := start(t, Config{
			Users:       onlyUser(t, mtwiretest.PaddedSecret),
			DataCenters: allAt(dc),
			Fronts:      map[string]Front{"": {Address: host}},
		})
		conn := classicClient(t, address, protocol)
		sealed, _ := mtwiretest.Seal([]byte("data"), frame.Client)
		if err := conn.Send(short(t), sealed); err != nil {
			t.Fatal(err)
		}
		p, err := conn.Receive(short(t))
		_, _, openErr := mtwiretest.Open(p.Payload, frame.Server)
		if served := err == nil && openErr == nil; served != (protocol == mtwire.PaddedIntermediate) {
			t.Errorf("%s with a dd secret in the proxy: %v, %v", name, err, openErr)
		} else if !served {
			<-visits
		}
	}
}

// Telethon waits two seconds after its init payload, and takes a proxy that closes
// in that time for one that refuses it. TDLib and Telegram Desktop open
// connections ahead of need. The proxy sends nothing and does not close before the
// client sends.
func TestClientsMayPauseBeforeTheirFirstRequest(t *testing.T) {
	dc, _ := testDataCenter(t)
	address := start(t, Config{DataCenters: allAt(dc)})
	pause := func(socket net.Conn) {
		t.Helper()
		// Longer than it takes to park a connection.
		socket.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := socket.Read(make([]byte, 1)); n != 0 || !os.IsTimeout(err) {
			t.Errorf("during a pause: %d bytes, %v", n, err)
		}
		socket.SetReadDeadline(time.Now().Add(30 * time.Second))
	}

	secret := secretOf(t, mtwiretest.PlainSecret)
	init, announced, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.Abridged, Key: &secret.Key, DC: 2})
	if err != nil {
		t.Fatal(err)
	}
	streams := announced.Streams(frame.Client)
	nonce := [16]byte(bytes.Repeat([]byte{0xa0}, 16))
	e := frame.Encoder{Protocol: frame.Abridged}
	request, err := e.Append(nil, frame.Packet{Payload: mtwiretest.AppendReqPQ(nil, nonce, nil)})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()

	pause(socket) // opened ahead of need
	if _, err := socket.Write(init[:]); err != nil {
		t.Fatal(err)
	}
	pause(socket) // Telethon
	for range 2 {
		sent := bytes.Clone(request)
		streams.Send.XORKeyStream(sent, sent)
		if _, err := socket.Write(sent); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 1+84)
		if _, err := io.ReadFull(socket, answer); err != nil {
			t.Fatal(err)
		}
		streams.Receive.XORKeyStream(answer, answer)
		if err := mtwiretest.CheckResPQ(answer[1:], nonce); err != nil {
			t.Error(err)
		}
		pause(socket) // between two requests
	}
}

// A client may also pause after its FakeTLS hello.
func TestClientsMayPauseAfterTheirHello(t *testing.T) {
	dc, _ := testDataCenter(t)
	address := start(t, Config{DataCenters: allAt(dc)})
	socket, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	conn, err := mtwire.Client(short(t), socket, mtwire.Endpoint{DC: 2, Secret: secretOf(t, mtwiretest.FakeTLSSecret)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pause, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := conn.Receive(pause); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("before the client sent a request: %v", err)
	}
	nonce := [16]byte(bytes.Repeat([]byte{0xa0}, 16))
	if err := conn.Send(short(t), mtwiretest.AppendReqPQ(nil, nonce, nil)); err != nil {
		t.Fatal(err)
	}
	p, err := conn.Receive(short(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := mtwiretest.CheckResPQ(p.Payload, nonce); err != nil {
		t.Error(err)
	}
}
