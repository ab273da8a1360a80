package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtwiretest"
)

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func secretOf(t *testing.T, text string) mtwire.Secret {
	s, err := mtwire.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs a proxy and returns its address. It is stopped with the test, and
// must stop in time.
func start(t *testing.T, config Config) net.Addr {
	_, address := startProxy(t, config)
	return address
}

// unserved is a proxy in front of a data centre that echoes. Nobody serves it
// yet, so that its limits can be set.
func unserved(t *testing.T) *Proxy {
	t.Helper()
	dc, _ := dataCenter(t)
	p, err := New(Config{
		Users:       []User{{Secret: secretOf(t, mtwiretest.PlainSecret)}},
		DataCenters: map[datacenter.DC][]string{0: {dc.String()}},
		Log:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func startProxy(t *testing.T, config Config) (*Proxy, net.Addr) {
	if config.Users == nil {
		config.Users = []User{{Name: "everybody", Secret: secretOf(t, mtwiretest.PlainSecret)}}
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	p, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, p, ln)
	return p, ln.Addr()
}

func serve(t *testing.T, p *Proxy, listeners ...net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, listeners...) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-served:
			if !errors.Is(err, context.Canceled) && !errors.Is(err, ErrStopped) {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("the proxy does not stop")
		}
		if stats := p.Stats(); stats.Open != 0 || stats.Carried != 0 {
			t.Errorf("%+v", stats)
		}
	})
}

// join connects a client, and has one packet come back.
func join(t *testing.T, address net.Addr, query string) *mtwire.Conn {
	t.Helper()
	conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	echo(t, conn, 3)
	return conn
}

func echo(t *testing.T, conn *mtwire.Conn, blocks int) {
	t.Helper()
	sent := payload(blocks)
	if err := conn.Send(short(t), sent); err != nil {
		t.Fatal(err)
	}
	p, err := conn.Receive(short(t))
	if err != nil || !bytes.Equal(p.Payload, sent) {
		t.Fatalf("%d bytes of %d came back, %v", len(p.Payload), len(sent), err)
	}
}

// eventually waits for something that is about to happen.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in ten seconds: " + what)
		}
	}
}

// dataCenter answers every packet with itself, and tells what connects.
func dataCenter(t *testing.T) (net.Addr, <-chan mtwire.Transport) {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	transports := make(chan mtwire.Transport, 100)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
			if conn.Handshake(ctx) != nil {
				return
			}
			transports <- conn.Transport()
			mtwiretest.Echo(ctx, conn)
		})
	}()
	t.Cleanup(func() { cancel(); <-served })
	return ln.Addr(), transports
}

func payload(blocks int) []byte {
	b := make([]byte, 24+16*blocks)
	rand.Read(b)
	return b
}

// "relays a real client in classic, dd and ee mode": every size both ways, and
// the data centre sees the client's framing and DC.
func TestClientsOfEveryModeAreRelayed(t *testing.T) {
	dc, transports := dataCenter(t)
	address := start(t, Config{DataCenters: map[datacenter.DC][]string{0: {dc.String()}}})
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

// "Client half-closes (the answer still arrives)."
func TestAnswerArrivesAfterAHalfClose(t *testing.T) {
	dc, _ := dataCenter(t)
	address := start(t, Config{DataCenters: map[datacenter.DC][]string{0: {dc.String()}}})
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

// fronting is a host that says nothing until its visitor has, and then answers
// with its own name. It tells what visitors send first.
func frontingHost(t *testing.T) (address string, visits <-chan []byte) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan []byte, 100)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				b := make([]byte, 4096)
				n, err := conn.Read(b)
				if err != nil {
					return // a measurement that was stopped, or nothing
				}
				seen <- b[:n]
				conn.Write([]byte("fronting"))
				conn.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, conn)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); running.Wait() })
	return ln.Addr().String(), seen
}

// fronted sends bytes, and wants to see the fronting host's answer to just
// these.
func fronted(t *testing.T, address net.Addr, visits <-chan []byte, sent []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write(sent)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "fronting" {
		t.Errorf("a stranger got %q, %v", answer, err)
	}
	for limit := short(t); ; {
		select {
		case got := <-visits:
			if bytes.Equal(got, sent) {
				return
			}
			// It may be measured at any time.
		case <-limit.Done():
			t.Fatal("the fronting host did not get what was sent")
		}
	}
}

// A recorded handshake that is sent again gets the fronting host, with records
// and without.
func TestReplayedHandshakesAreNotAnswered(t *testing.T) {
	dc, _ := dataCenter(t)
	host, visits := frontingHost(t)
	address := start(t, Config{
		DataCenters: map[datacenter.DC][]string{0: {dc.String()}},
		Fronts:      map[string]string{"": host},
	})
	for _, m := range mtwiretest.ProxiedModes() {
		recorder := &recording{}
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
		fronted(t, address, visits, recorder.sent)
	}
}

// recording keeps what is written.
type recording struct {
	net.Conn
	sent []byte
}

func (r *recording) Write(p []byte) (int, error) {
	r.sent = append(r.sent, p...)
	return r.Conn.Write(p)
}

// "bounded memory, two generations."
func TestReplayMemoryForgetsTheOldest(t *testing.T) {
	m := replayMemory{capacity: 100}
	id := func(i int) (id [16]byte) {
		copy(id[:], fmt.Sprint(i))
		return id
	}
	for i := range 1000 {
		if m.seen(id(i)) {
			t.Fatalf("%d is new", i)
		}
		if i >= 100 && !m.seen(id(i-100)) {
			t.Fatalf("%d is forgotten after 100 others", i-100)
		}
		if len(m.young) > 100 || len(m.old) > 100 {
			t.Fatalf("%d and %d remembered", len(m.young), len(m.old))
		}
	}
	if m.seen(id(0)) {
		t.Error("the first is still known")
	}
}

// An upstream that accepts and reads nothing does not keep the proxy from
// stopping: start's cleanup is the test.
func TestProxyStopsBesideAStalledDataCenter(t *testing.T) {
	near, _ := net.Pipe()
	dialled := make(chan struct{})
	address := start(t, Config{DialContext: func(context.Context, string, string) (net.Conn, error) {
		close(dialled)
		return near, nil
	}})
	conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?secret="+mtwiretest.PaddedSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Send(short(t), payload(3)); err != nil {
		t.Fatal(err)
	}
	<-dialled
}

// A data centre that cannot be reached closes its own client only, after a
// bounded number of tries.
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
	dial := func(dc string) (*mtwire.Conn, error) {
		conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?dc="+dc+"&secret="+mtwiretest.PaddedSecret, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.Send(short(t), payload(3)); err != nil {
			t.Fatal(err)
		}
		_, err = conn.Receive(short(t))
		return conn, err
	}
	if _, err := dial("2"); !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Errorf("the client of DC 2: %v", err)
	}
	if n := len(tries); n < 2 || n > 4 {
		t.Errorf("%d tries", n)
	}
	if _, err := dial("77"); err == nil {
		t.Error("DC 77 exists")
	}
	for _, dc := range []string{"4", "-4"} { // media goes where the main one is
		if _, err := dial(dc); err != nil {
			t.Errorf("the client of DC %s: %v", dc, err)
		}
	}
}

// "Secrets and client addresses redacted": a line for each connection, none of
// which has either.
func TestLogHasOneLineForEachConnectionAndNoSecret(t *testing.T) {
	dc, _ := dataCenter(t)
	var log bytes.Buffer
	done := make(chan struct{}, 1)
	address := start(t, Config{
		DataCenters: map[datacenter.DC][]string{0: {dc.String()}},
		Log:         slog.New(slog.NewTextHandler(&notifying{&log, done}, nil)),
	})
	conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?dc=-2&secret="+mtwiretest.FakeTLSSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.Send(short(t), payload(3))
	conn.Receive(short(t))
	client := conn.LocalAddr().String()
	conn.Close()
	<-done
	text := log.String()
	if strings.Count(text, "\n") != 1 || !strings.Contains(text, "stage=\"first byte down\" user=everybody mode=ee protocol=padded-intermediate dc=-2 address="+dc.String()+" via=direct up=") ||
		!strings.Contains(text, `cause="end of stream"`) {
		t.Errorf("%s", text)
	}
	if strings.Contains(text, mtwiretest.PlainSecret) || strings.Contains(text, client) {
		t.Errorf("it says too much: %s", text)
	}
}

type notifying struct {
	w    io.Writer
	done chan<- struct{}
}

func (n *notifying) Write(p []byte) (int, error) {
	defer func() { n.done <- struct{}{} }()
	return n.w.Write(p)
}

func TestProxyWithoutASecretIsRefused(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("it was accepted")
	}
}
