package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Config.DataCenters may have media, test and CDN data centres, and an address for
// all others. Each client is connected to the address of the DC that it asks for,
// and the data centre sees that DC.
func TestEachDataCenterIsAtItsConfiguredAddress(t *testing.T) {
	addresses := make(map[datacenter.DC][]string)
	arrived := make(map[datacenter.DC]<-chan mtwire.Transport)
	for _, dc := range []datacenter.DC{2, -2, 10002, -10002, 203} {
		address, transports := dataCenter(t)
		addresses[dc], arrived[dc] = []string{address.String()}, transports
	}
	visit := func(address net.Addr, dc, want datacenter.DC) {
		t.Helper()
		join(t, address, fmt.Sprintf("dc=%d&secret=%s", dc, mtwiretest.PaddedSecret))
		select {
		case seen := <-arrived[want]:
			if seen.DC != dc {
				t.Errorf("DC %d: the data centre was asked for DC %d", dc, seen.DC)
			}
		default:
			t.Errorf("the client of DC %d is not at the address of %d", dc, want)
		}
	}
	address := start(t, Config{DataCenters: addresses})
	for dc := range arrived {
		visit(address, dc, dc)
	}
	visit(address, -203, 203) // which has no media DC of its own

	others, transports := dataCenter(t)
	addresses[0], arrived[0] = []string{others.String()}, transports
	address = start(t, Config{DataCenters: addresses})
	for dc := range arrived {
		visit(address, max(dc, -dc)+1, 0)
		if dc != 0 {
			visit(address, dc, dc)
		}
	}
	visit(address, 77, 0)
	visit(address, -203, 0)
}

// Clients that ask for an unknown DC, and no others, are connected to DefaultDC
// under its own number.
func TestDefaultDataCenterIsForUnknownNumbers(t *testing.T) {
	dc, transports := dataCenter(t)
	other, _ := dataCenter(t)
	address := start(t, Config{
		DataCenters: map[datacenter.DC][]string{2: {dc.String()}, 4: {other.String()}},
		DefaultDC:   2,
	})
	join(t, address, "dc=77&secret="+mtwiretest.PaddedSecret)
	if seen := <-transports; seen.DC != 2 {
		t.Errorf("it was asked for DC %d", seen.DC)
	}
	join(t, address, "dc=4&secret="+mtwiretest.PaddedSecret)
	if len(transports) != 0 {
		t.Error("a known data centre's client went there as well")
	}
}

// recordingListener is a listener whose last connection keeps what is sent on it.
type recordingListener struct {
	net.Listener
	mu   sync.Mutex
	last *writeRecorder
}

func (l *recordingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = &writeRecorder{Conn: conn}
	return l.last, nil
}

// readRecorder keeps what is read.
type readRecorder struct {
	net.Conn
	received []byte
}

func (r *readRecorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.received = append(r.received, p[:n]...)
	return n, err
}

// With fast mode the download's bytes are the same on both sides, in all modes:
// the proxy does not re-encrypt them. Without it they differ.
func TestBytesDifferOnlyWithoutFastMode(t *testing.T) {
	ln := &recordingListener{Listener: listen(t, "tcp", "127.0.0.1:0")}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- mtwire.NewListener(ln, nil).Serve(ctx, mtwiretest.Echo)
	}()
	t.Cleanup(func() { cancel(); <-served })
	for _, fast := range []bool{true, false} {
		address := start(t, Config{
			DataCenters:     allAt(ln.Addr()),
			DisableFastMode: !fast,
		})
		for _, m := range mtwiretest.ProxiedModes() {
			client := &readRecorder{}
			conn, err := mtwire.Dial(short(t), m.Endpoint(address), &mtwire.DialConfig{
				DialContext: func(ctx context.Context, network, address string) (_ net.Conn, err error) {
					client.Conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
					return client, err
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			hello := len(client.received)
			for _, blocks := range []int{3, 10000, 100} {
				echo(t, conn, blocks)
			}
			received := client.received[hello:]
			if strings.Contains(m.Transport, "faketls") {
				records := faketls.Deframer{From: frame.Server}
				n, err := records.Deframe(received)
				if err != nil {
					t.Fatal(err)
				}
				received = received[:n]
			}
			ln.mu.Lock()
			sent := ln.last.sent
			ln.mu.Unlock()
			conn.Close()
			if len(received) != len(sent) || len(sent) < 16*10000 {
				t.Fatalf("%s: %d bytes were sent, and %d came down", m.Transport, len(sent), len(received))
			}
			if fast && !bytes.Equal(sent, received) {
				t.Errorf("%s: the bytes were re-encrypted", m.Transport)
			}
			same := 0
			for i := range sent {
				if sent[i] == received[i] {
					same++
				}
			}
			if !fast && same > len(sent)/100 {
				t.Errorf("%s: %d bytes of %d are the same", m.Transport, same, len(sent))
			}
		}
	}
}

// A client of proxy A, in dd or ee mode, is relayed through proxy B, by a plain, dd
// or ee link, to the data centre. Long packets pass both ways.
func TestProxiesFormAChain(t *testing.T) {
	dc, transports := dataCenter(t)
	keyOfB := strings.Repeat("b7", 16)
	log := &logBuffer{}
	b := start(t, Config{
		Users:       []User{user(t, "A", keyOfB)},
		DataCenters: allAt(dc),
		Log:         log.logger(),
	})
	_, port, _ := net.SplitHostPort(b.String())
	relayed := 0
	for _, secret := range []string{keyOfB, "dd" + keyOfB, "ee" + keyOfB + fmt.Sprintf("%x", "b.example")} {
		p, a := startProxy(t, Config{Upstreams: upstreams(t, "tg://proxy?server=127.0.0.1&port="+port+"&secret="+secret)})
		for _, own := range []string{mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
			conn := join(t, a, "dc=-4&secret="+own)
			if seen := <-transports; seen.DC != -4 || seen.Protocol != mtwire.PaddedIntermediate {
				t.Errorf("the data centre saw %v, DC %v", seen, seen.DC)
			}
			for _, blocks := range []int{70000, 3, 20000} {
				echo(t, conn, blocks)
			}
			conn.Close()
			relayed++
			eventually(t, "B's line", func() bool { return len(log.lines(`stage="first byte down" user=A`)) == relayed })
		}
		eventually(t, "A's sessions end", func() bool { return p.Stats().Open == 0 })
		if s := p.Stats(); s.Up < 2*16*90000 || s.Down < 2*16*90000 || s.Authenticated != 2 {
			t.Errorf("%+v", s)
		}
	}
	mode := map[string]int{"mode=dd": 4, "mode=ee": 2}
	for what, want := range mode {
		if n := len(log.closed(what)); n != want {
			t.Errorf("%d clients of B with %s, want %d", n, what, want)
		}
	}
}

// If the upstream does not have the proxy's secret, the client is closed.
func TestClientIsClosedIfTheUpstreamRefuses(t *testing.T) {
	b := start(t, Config{Users: onlyUser(t, strings.Repeat("b7", 16))})
	_, port, _ := net.SplitHostPort(b.String())
	log := &logBuffer{}
	ctx := short(t)
	p, a := startProxy(t, Config{
		Upstreams:   upstreams(t, "tg://proxy?server=127.0.0.1&port="+port+"&secret=ee"+strings.Repeat("c8", 16)+"6162"),
		DialTimeout: shortDial, Log: log.logger(),
	})
	conn, err := mtwire.Dial(ctx, "tcp://"+a.String()+"?secret="+mtwiretest.PaddedSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Send(ctx, payload(3)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Receive(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	eventually(t, "all sessions end", func() bool { return p.Stats().Open == 0 })
	line := log.last()
	if p.Stats().Unreachable != 1 || !strings.Contains(line, "stage=authenticated") || strings.Contains(line, "c8c8") {
		t.Error(line)
	}
}

// shortDial is the DialTimeout for an upstream that does not answer.
const shortDial = 200 * time.Millisecond

// The proxy passes a SOCKS5 server its password and the data centre's address, and
// the data centre sees its client.
func TestSOCKS5UpstreamRelaysEveryMode(t *testing.T) {
	dc, transports := dataCenter(t)
	requests := make(chan string, 100)
	upstream := startHost(t, func(conn net.Conn) {
		if err := socks5(conn, requests); err != nil {
			t.Error(err)
		}
	})
	log := &logBuffer{}
	address := start(t, Config{
		DataCenters: allAt(dc),
		Upstreams:   upstreams(t, "socks5://me:word@"+upstream),
		Log:         log.logger(),
	})
	for i, m := range mtwiretest.ProxiedModes() {
		conn, err := mtwire.Dial(short(t), m.Endpoint(address), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, blocks := range []int{3, 30000} {
			echo(t, conn, blocks)
		}
		conn.Close()
		if got := <-requests; got != "me:word@"+dc.String() {
			t.Errorf("it was requested to connect %s", got)
		}
		if seen := <-transports; int(seen.DC) != m.DC {
			t.Errorf("the data centre saw DC %v", seen.DC)
		}
		eventually(t, "a line", func() bool { return len(log.lines(" via=socks5://"+upstream+" ")) == i+1 })
	}
	if len(log.lines("word@")) != 0 {
		t.Error("the password is in the log")
	}
}

// socks5 serves one client of a SOCKS5 server with a password, for IPv4 addresses.
//
// Specification: https://www.rfc-editor.org/rfc/rfc1928 and
// https://www.rfc-editor.org/rfc/rfc1929
func socks5(client net.Conn, requests chan<- string) error {
	b := make([]byte, 300)
	next := func(n int) []byte { io.ReadFull(client, b[:n]); return b[:n] }
	next(int(next(2)[1]))
	client.Write([]byte{5, 2})
	user := string(next(int(next(2)[1])))
	password := string(next(int(next(1)[0])))
	client.Write([]byte{1, 0})
	if head := next(4); head[1] != 1 || head[3] != 1 {
		return fmt.Errorf("request % x", head)
	}
	to := next(6)
	address := fmt.Sprintf("%v:%d", net.IP(to[:4]), int(to[4])<<8|int(to[5]))
	requests <- user + ":" + password + "@" + address
	server, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer server.Close()
	client.Write([]byte("\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01"))
	go func() {
		io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(client, server)
	return nil
}
