package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A visitor stays with the site that it was tunneled to, and the next one reaches the new
// site, whose ServerHello is measured from the beginning.
func TestVisitorsStayWithTheirSite(t *testing.T) {
	site := func(word string) func(net.Conn) {
		return func(conn net.Conn) {
			b := make([]byte, 4096)
			for {
				if _, err := conn.Read(b); err != nil {
					return
				}
				if _, err := io.WriteString(conn, word); err != nil {
					return
				}
			}
		}
	}
	config := Config{
		Users:  onlyUser(t, mtwiretest.FakeTLSSecret),
		Fronts: map[string]Front{"": {Address: "old.test:443"}},
	}
	hosts := map[string]func(net.Conn){"old.test:443": site("old"), "new.test:443": site("new")}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		visitor, silent := b.connect(), b.connect()
		visitor.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		if got := read(t, visitor, 3); got != "old" {
			t.Errorf("the visitor is answered %q", got)
		}
		time.Sleep(time.Second) // the other one is connected to the old site ahead of need
		synctest.Wait()
		config := b.settings().Config
		config.Users, config.Fronts = []User{*b.Users()[0]}, map[string]Front{"": {Address: "new.test:443"}}
		if err := b.Reconfigure(config); err != nil {
			t.Fatal(err)
		}
		late := b.connect()
		for client, want := range map[net.Conn]string{visitor: "old", silent: "old", late: "new"} {
			client.Write([]byte("GET /again HTTP/1.1\r\n\r\n"))
			if got := read(t, client, 3); got != want {
				t.Errorf("a visitor is answered %q, want %q", got, want)
			}
		}
		config.Users, config.Fronts, config.Domain = numberedUsers(0, 1, mtproxy.Plain, ""), nil, ""
		if err := b.Reconfigure(config); err != nil {
			t.Fatal(err)
		}
		visitor.Write([]byte("GET /without a site HTTP/1.1\r\n\r\n"))
		if got := read(t, visitor, 3); got != "old" {
			t.Errorf("without sites, the visitor is answered %q", got)
		}

		early, partial := b.connect(), b.connect()
		synctest.Wait()
		config.Fronts = map[string]Front{"": {Address: "new.test:443"}}
		if err := b.Reconfigure(config); err != nil {
			t.Fatal(err)
		}
		early.Write([]byte("GET /with a site HTTP/1.1\r\n\r\n"))
		if got := read(t, early, 3); got != "new" {
			t.Errorf("a client that connected before there was a site is answered %q", got)
		}
		partial.Write([]byte("\x16\x03\x01")) // a part of a hello: the site's time limits apply
		if got := read(t, partial, 3); got != "new" {
			t.Errorf("one that has sent a part of a handshake is answered %q", got)
		}
	})
}

// While one configuration follows another, sessions go on with their bytes as they were,
// clients connect and visitors reach their site; and nothing of the configurations that
// are gone is left: no measurement of a site, no goroutine, no descriptor.
func TestChangesUnderConnections(t *testing.T) {
	dc, _ := dataCenter(t)
	other, _ := dataCenter(t)
	host := startHost(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	config := Config{
		Users:       append(numberedUsers(0, 20, mtproxy.Plain, ""), user(t, "alice", mtwiretest.PlainSecret), user(t, "bob", mtwiretest.FakeTLSSecret)),
		DataCenters: allAt(dc),
		Fronts:      map[string]Front{"": {Address: host}},
	}
	config.Users[21].Secrets[0].Key[0]++
	bob, err := config.Users[21].Secrets[0].MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	p, address := startProxy(t, config)
	live := join(t, address, "secret="+mtwiretest.PaddedSecret)
	eventually(t, "the site is measured", func() bool { return len(goroutinesIn("fronting.(*Pool).measure(")) == 1 })
	descriptors := openDescriptors()

	var changing, clients sync.WaitGroup
	stop := make(chan struct{})
	changing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			next := config
			next.Fronts = map[string]Front{"": {Address: host, ProxyProtocol: ProxyProtocol(i % 3)}}
			next.MaxUnauthenticated, next.MaxFronted = 100+i%50, 20+i%50
			next.DialTimeout = time.Duration(30+i%5) * time.Second
			next.SearchProcessors, next.StallTimeout = 0.5+float64(i%3), time.Duration(i%4)*time.Second
			next.DisableFastMode = i%2 == 0
			if i%4 < 2 {
				next.DataCenters = allAt(other)
			}
			if i%5 == 0 {
				next.Upstreams = upstreams(t, "direct?weight=2", "direct")
			}
			if err := p.Reconfigure(next); err != nil {
				t.Error(err)
				return
			}
		}
	})
	changing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			if err := p.SetUsers(config.Users); err != nil {
				t.Error(err)
				return
			}
			p.Upstreams()
			p.FrontingHosts()
			p.Limits()
		}
	})
	for _, secret := range []string{mtwiretest.PaddedSecret, string(bob)} {
		clients.Go(func() {
			for range 30 {
				conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?secret="+secret, nil)
				if err != nil {
					t.Error(err)
					return
				}
				sent := payload(500)
				if err := conn.Send(short(t), sent); err != nil {
					t.Error(err)
				}
				if got, err := conn.Receive(short(t)); err != nil || string(got.Payload) != string(sent) {
					t.Errorf("%d bytes of %d came back, %v", len(got.Payload), len(sent), err)
				}
				conn.Close()
			}
		})
	}
	clients.Go(func() {
		for range 30 {
			conn, err := net.Dial("tcp", address.String())
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprint(conn, strings.Repeat("no secret ", 50))
			conn.Close()
		}
	})
	for range 200 {
		echo(t, live, 100)
	}
	clients.Wait()
	close(stop)
	changing.Wait()
	echo(t, live, 100)

	eventually(t, "only the present site is measured", func() bool { return len(goroutinesIn("fronting.(*Pool).measure(")) == 1 })
	eventually(t, "the connections have ended", func() bool { return p.Stats().Open == 1 })
	eventually(t, "no descriptor is left", func() bool {
		runtime.GC() // which ends the pipes that package splice keeps for its next need
		return openDescriptors() <= descriptors
	})
}

// openDescriptors returns how many descriptors the process has, 0 where that is not known.
func openDescriptors() int {
	if runtime.GOOS != "linux" {
		return 0
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// Changes may be prepared concurrently. The one that is applied last counts.
func TestLastChangeCounts(t *testing.T) {
	config := Config{Users: onlyUser(t, mtwiretest.PlainSecret)}
	p := newProxy(t, config)
	var changes []*Change
	for i := range 3 {
		next := config
		next.MaxUnauthenticated = 100 + i
		change, err := p.Prepare(next)
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, change)
	}
	var running sync.WaitGroup
	for _, change := range changes[1:] {
		running.Go(change.Apply)
	}
	running.Wait()
	changes[0].Apply()
	if n := p.Limits().Unauthenticated; n != 100 {
		t.Errorf("the limit is %d", n)
	}
	if err := p.SetUsers(config.Users); err != nil || p.Limits().Unauthenticated != 100 {
		t.Errorf("after SetUsers: %+v, %v", p.Limits(), err)
	}
	closed, cancel := context.WithCancel(t.Context())
	cancel()
	p.Shutdown(closed)
	if err := p.Reconfigure(config); err != nil {
		t.Errorf("a proxy that is stopped: %v", err)
	}
}
