package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// webSite returns a site for Config.Web that answers each connection with "web" over
// TLS, and passes it to served. It does not close connections before the client does.
func webSite(t *testing.T, host string) (site *WebSite, certificate []byte, served <-chan *WebConn) {
	t.Helper()
	config, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan *WebConn, 100)
	var running sync.WaitGroup
	t.Cleanup(running.Wait) // after the proxy has closed the connections
	return &WebSite{Host: host, Serve: func(conn *WebConn) {
		running.Go(func() {
			defer conn.Close()
			server := tls.Server(conn, config)
			if server.Handshake() == nil {
				io.WriteString(server, "web")
				server.CloseWrite()
				conns <- conn
				io.Copy(io.Discard, server)
			}
		})
	}}, config.Certificates[0].Certificate[0], conns
}

// A hello whose name never comes takes the memory of a long hello, once.
func TestAHelloWithoutAnEndIsBounded(t *testing.T) {
	web, _, _ := webSite(t, "web.example")
	p := newProxy(t, Config{Web: web, Fronts: map[string]Front{}})
	client, socket := net.Pipe()
	s := &session{unauthenticated: &unauthenticated{}, proxy: p, socket: socket}
	go func() {
		defer socket.Close()
		record := append([]byte{22, 3, 1, 0x10, 0}, make([]byte, 0x1000)...)
		copy(record[5:], []byte{1, 0, 0xff, 0xff, 3, 3})
		_, err := client.Write(record[1:])
		for err == nil {
			_, err = client.Write(record)
		}
	}()
	first := s.completeHello(t.Context(), []byte{22})
	if len(first) != fronting.MaxPartialHello || cap(first) > fronting.MaxPartialHello {
		t.Errorf("%d bytes, memory for %d", len(first), cap(first))
	}
	client.Close()
}

// The site gets the clients whose hello names it and that have no secret, also if the
// hello comes in several records or in small parts. All others go where they went
// without it.
func TestTheWebSiteGetsWhoNamesIt(t *testing.T) {
	host, fronting := site(t, "front")
	web, own, _ := webSite(t, "web.example")
	dc, _ := dataCenter(t)
	users := append(numberedUsers(0, 2, mtproxy.FakeTLS, "a.example"), numberedUsers(2, 1, mtproxy.FakeTLS, "web.example")...)
	p, address := startProxy(t, Config{
		Users: users, DataCenters: allAt(dc), Web: web,
		Fronts: map[string]Front{"": {Address: host}},
	})
	for name, want := range map[string][]byte{"web.example": own, "WEB.example": own, "a.example": fronting, "sub.web.example": fronting} {
		if certificate, _ := browse(t, address, name); !bytes.Equal(certificate, want) {
			t.Errorf("%s is served by the other one", name)
		}
	}
	for _, u := range users {
		join(t, address, "secret="+u.Secrets[0].String())
	}
	for what, cut := range map[string]func(net.Conn) net.Conn{
		"several records": func(c net.Conn) net.Conn { return &recordSplitter{Conn: c} },
		"small parts":     func(c net.Conn) net.Conn { return &smallWrites{c} },
	} {
		socket, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		client := tls.Client(cut(socket), &tls.Config{ServerName: "web.example", InsecureSkipVerify: true})
		if err := client.HandshakeContext(short(t)); err != nil {
			t.Errorf("%s: %v", what, err)
		} else if text, err := io.ReadAll(client); string(text) != "web" || err != nil {
			t.Errorf("%s: %q, %v", what, text, err)
		}
		client.Close()
	}
	eventually(t, "the visitors are counted", func() bool {
		s := p.Stats()
		return s.Unauthenticated == 6 && s.Pending == 0 && s.Fronted == 0
	})
}

// recordSplitter cuts the first record that is written into records of 40 bytes.
type recordSplitter struct {
	net.Conn
	done bool
}

func (c *recordSplitter) Write(b []byte) (int, error) {
	if c.done {
		return c.Conn.Write(b)
	}
	c.done = true
	var cut []byte
	for body := b[5:]; len(body) > 0; {
		n := min(40, len(body))
		cut = append(append(cut, b[0], b[1], b[2], 0, byte(n)), body[:n]...)
		body = body[n:]
	}
	if _, err := c.Conn.Write(cut); err != nil {
		return 0, err
	}
	return len(b), nil
}

// smallWrites writes 50 bytes at a time.
type smallWrites struct{ net.Conn }

func (c *smallWrites) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var written int
		written, err = c.Conn.Write(b[n:min(n+50, len(b))])
		n += written
	}
	return n, err
}

// Visitors of the site are bounded as those of fronting hosts are. A connection whose
// client has shown a session is not one of them: it is not evicted, and not counted.
func TestTheWebSitesVisitorsAreBounded(t *testing.T) {
	web, _, served := webSite(t, "web.example")
	p, address := startProxy(t, Config{Users: onlyUser(t, mtwiretest.PlainSecret), Web: web, MaxUnauthenticated: 20, MaxFronted: 8})
	visit := func() *tls.Conn {
		conn, err := tls.DialWithDialer(&net.Dialer{}, "tcp", address.String(), &tls.Config{ServerName: "web.example", InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	visit()
	carrier := <-served
	if !carrier.Authenticated() || carrier.Authenticated() {
		t.Error("Authenticated does not report the first call")
	}
	for range 20 {
		visit()
	}
	eventually(t, "visitors make room", func() bool {
		s := p.Stats()
		return s.Evicted >= 12 && s.Fronted <= 8
	})
	carrier.session.mu.Lock()
	if closed := carrier.session.closed; closed != nil {
		t.Errorf("the carrier was closed: %v", closed)
	}
	carrier.session.mu.Unlock()
	carrier.Close()
	eventually(t, "all but the carrier are unauthenticated", func() bool {
		s := p.Stats()
		return s.Unauthenticated == s.Accepted-1-s.Open
	})
}
