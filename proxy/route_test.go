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

// "DataCenters override including media, test, CDN 203 and all others":
// everybody arrives where their number is, under the number they asked for.
func TestEachDataCenterIsWhereTheConfigurationSays(t *testing.T) {
	places := make(map[datacenter.DC][]string)
	arrived := make(map[datacenter.DC]<-chan mtwire.Transport)
	for _, dc := range []datacenter.DC{2, -2, 10002, -10002, 203} {
		at, transports := dataCenter(t)
		places[dc], arrived[dc] = []string{at.String()}, transports
	}
	visit := func(address net.Addr, dc, place datacenter.DC) {
		t.Helper()
		join(t, address, fmt.Sprintf("dc=%d&secret=%s", dc, mtwiretest.PaddedSecret))
		select {
		case seen := <-arrived[place]:
			if seen.DC != dc {
				t.Errorf("DC %d: the data centre was asked for DC %d", dc, seen.DC)
			}
		default:
			t.Errorf("DC %d did not arrive at %d's place", dc, place)
		}
	}
	address := start(t, Config{DataCenters: places})
	for dc := range arrived {
		visit(address, dc, dc)
	}
	visit(address, -203, 203) // which has no media of its own

	others, transports := dataCenter(t)
	places[0], arrived[0] = []string{others.String()}, transports
	address = start(t, Config{DataCenters: places})
	for dc := range arrived {
		visit(address, max(dc, -dc)+1, 0)
		if dc != 0 {
			visit(address, dc, dc)
		}
	}
	visit(address, 77, 0)
	visit(address, -203, 0)
}

// "DefaultDC" is for clients that ask for what nobody knows, under its own
// number, and for no other.
func TestDefaultDataCenterTakesTheUnknown(t *testing.T) {
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

// tapped is a listener whose connections keep what is sent on them.
type tapped struct {
	net.Listener
	mu   sync.Mutex
	last *recording
}

func (l *tapped) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = &recording{Conn: conn}
	return l.last, nil
}

// hearing keeps what is read.
type hearing struct {
	net.Conn
	heard []byte
}

func (h *hearing) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.heard = append(h.heard, p[:n]...)
	return n, err
}

// Without fast mode, the data centre's bytes differ from the client's, in all
// modes; with it they are the same, and the proxy does not re-encrypt them.
func TestBytesDifferOnlyWithoutFastMode(t *testing.T) {
	ln := &tapped{Listener: listen(t, "tcp", "127.0.0.1:0")}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- mtwire.NewListener(ln, nil).Serve(ctx, mtwiretest.Echo)
	}()
	t.Cleanup(func() { cancel(); <-served })
	for _, fast := range []bool{true, false} {
		address := start(t, Config{
			DataCenters:     map[datacenter.DC][]string{0: {ln.Addr().String()}},
			DisableFastMode: !fast,
		})
		for _, m := range mtwiretest.ProxiedModes() {
			client := &hearing{}
			conn, err := mtwire.Dial(short(t), m.Endpoint(address), &mtwire.DialConfig{
				DialContext: func(ctx context.Context, network, address string) (_ net.Conn, err error) {
					client.Conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
					return client, err
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			hello := len(client.heard)
			for _, blocks := range []int{3, 10000, 100} {
				echo(t, conn, blocks)
			}
			heard := client.heard[hello:]
			if strings.Contains(m.Transport, "faketls") {
				records := faketls.Deframer{From: frame.Server}
				n, err := records.Deframe(heard)
				if err != nil {
					t.Fatal(err)
				}
				heard = heard[:n]
			}
			ln.mu.Lock()
			sent := ln.last.sent
			ln.mu.Unlock()
			conn.Close()
			if len(heard) != len(sent) || len(sent) < 16*10000 {
				t.Fatalf("%s: %d bytes were sent, and %d came down", m.Transport, len(sent), len(heard))
			}
			if fast && !bytes.Equal(sent, heard) {
				t.Errorf("%s: the bytes were re-encrypted", m.Transport)
			}
			same := 0
			for i := range sent {
				if sent[i] == heard[i] {
					same++
				}
			}
			if !fast && same > len(sent)/100 {
				t.Errorf("%s: %d bytes of %d are the same", m.Transport, same, len(sent))
			}
		}
	}
}

// "Chaining: client -> proxy A (dd, ee) -> proxy B by link (plain, dd, ee) ->
// data centre, big transfers both ways."
func TestProxiesFormAChain(t *testing.T) {
	dc, transports := dataCenter(t)
	keyOfB := strings.Repeat("b7", 16)
	log := &logBuffer{}
	b := start(t, Config{
		Users:       []User{{Name: "A", Secret: secretOf(t, keyOfB)}},
		DataCenters: map[datacenter.DC][]string{0: {dc.String()}},
		Log:         log.logger(),
	})
	_, port, _ := net.SplitHostPort(b.String())
	carried := 0
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
			carried++
			eventually(t, "B's line", func() bool { return len(log.lines(`stage="first byte down" user=A`)) == carried })
		}
		eventually(t, "A's end", func() bool { return p.Stats().Open == 0 })
		if s := p.Stats(); s.Up < 2*16*90000 || s.Down < 2*16*90000 || s.Authenticated != 2 {
			t.Errorf("%+v", s)
		}
	}
	mode := map[string]int{"mode=dd": 4, "mode=ee": 2}
	for what, want := range mode {
		if n := len(log.lines(what)); n != want {
			t.Errorf("%d clients of B with %s, want %d", n, what, want)
		}
	}
}

// An upstream that does not know us leaves the client with a closed connection.
func TestChainThatIsRefusedClosesTheClient(t *testing.T) {
	b := start(t, Config{Users: []User{{Secret: secretOf(t, strings.Repeat("b7", 16))}}})
	_, port, _ := net.SplitHostPort(b.String())
	log := &logBuffer{}
	ctx, cancel := context.WithTimeout(context.Background(), 10*cutOff)
	defer cancel()
	p, a := startProxy(t, Config{
		Upstreams:   upstreams(t, "tg://proxy?server=127.0.0.1&port="+port+"&secret=ee"+strings.Repeat("c8", 16)+"6162"),
		DialTimeout: cutOff, Log: log.logger(),
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
	eventually(t, "an end", func() bool { return p.Stats().Open == 0 })
	line := log.last()
	if p.Stats().Unreachable != 1 || !strings.Contains(line, "stage=authenticated") || strings.Contains(line, "c8c8") {
		t.Error(line)
	}
}

// cutOff is how long a test's proxy tries to reach something that is silent.
const cutOff = 200 * time.Millisecond

// "SOCKS5 upstream": the data centre sees its client, and the server was asked
// for its address, with the password.
func TestSOCKS5UpstreamCarriesEveryMode(t *testing.T) {
	dc, transports := dataCenter(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	asked := make(chan string, 100)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				if err := socks5(conn, asked); err != nil {
					t.Error(err)
				}
			})
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(func() { ln.Close() })
	log := &logBuffer{}
	address := start(t, Config{
		DataCenters: map[datacenter.DC][]string{0: {dc.String()}},
		Upstreams:   upstreams(t, "socks5://me:word@"+ln.Addr().String()),
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
		if got := <-asked; got != "me:word@"+dc.String() {
			t.Errorf("it was asked for %s", got)
		}
		if seen := <-transports; int(seen.DC) != m.DC {
			t.Errorf("the data centre saw DC %v", seen.DC)
		}
		eventually(t, "a line", func() bool { return len(log.lines(" via=socks5://"+ln.Addr().String()+" ")) == i+1 })
	}
	if len(log.lines("word@")) != 0 {
		t.Error("the password is in the log")
	}
}

// socks5 is a server that wants a password and is asked for IPv4 addresses: RFC
// 1928 and 1929.
func socks5(client net.Conn, asked chan<- string) error {
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
	asked <- user + ":" + password + "@" + address
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
