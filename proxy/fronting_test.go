package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// frontingHost starts a host that sends nothing before its client does, and then
// answers with one word. It returns the first bytes of each client.
func frontingHost(t *testing.T) (address string, visits <-chan []byte) {
	t.Helper()
	seen := make(chan []byte, 100)
	return startHost(t, func(conn net.Conn) {
		b := make([]byte, 4096)
		n, err := conn.Read(b)
		if err != nil {
			return // a probe that was stopped, or nothing
		}
		seen <- b[:n]
		conn.Write([]byte("fronting"))
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn)
	}), seen
}

// startHost starts a host that serves connections until the test ends, and closes each
// when serve returns.
func startHost(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	ln := listen(t, "tcp", "127.0.0.1:0")
	t.Cleanup(loopback.Serve(ln, serve))
	return ln.Addr().String()
}

// fronted sends bytes, and expects the fronting host's answer to just these.
func fronted(t *testing.T, address net.Addr, visits <-chan []byte, sent []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write(sent)
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "fronting" {
		t.Errorf("an unauthenticated client got %q, %v", answer, err)
	}
	for limit := short(t); ; {
		select {
		case got := <-visits:
			if bytes.Equal(got, sent) {
				return
			}
			// The host may be probed at any time.
		case <-limit.Done():
			t.Fatal("the fronting host did not get what was sent")
		}
	}
}

// A client with a wrong secret, server name, clock, mode or protocol gets the
// fronting host's answer to its own bytes, and nothing in front of it.
func TestUnauthenticatedClientsSeeTheFrontingHost(t *testing.T) {
	host, visits := frontingHost(t)
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	other := keyOf(1)
	p, address := startProxy(t, Config{Users: onlyUser(t, mtwiretest.FakeTLSSecret), Fronts: map[string]Front{secret.Domain: {Address: host}}})
	hello := func(key [16]byte, domain string, off time.Duration) []byte {
		b, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{
			Key: key, Domain: domain, Time: func() time.Time { return time.Now().Add(off) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	clients := map[string][]byte{
		"a wrong secret, ee":    hello(other, secret.Domain, 0),
		"a wrong server name":   hello(secret.Key, "www.example.org", 0),
		"a clock that is early": hello(secret.Key, secret.Domain, -time.Hour),
		"a clock that is late":  hello(secret.Key, secret.Domain, time.Hour),
		"a wrong secret, dd":    initOf(t, other, mtwire.PaddedIntermediate),
		"a mode not allowed":    initOf(t, secret.Key, mtwire.PaddedIntermediate),
		"HTTP":                  []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
		"a WebSocket":           []byte("GET /apiws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
		"abridged":              append([]byte{0xef}, make([]byte, 80)...),
		"intermediate":          append([]byte("\xee\xee\xee\xee\x50\x00\x00\x00"), make([]byte, 80)...),
		"malformed TLS":         append([]byte("\x16\x03\x01\x02\x00\xff"), make([]byte, 600)...),
		"SSH":                   []byte("SSH-2.0-OpenSSH_9.6 and what follows it, to be long enough for an init payload\r\n"),
	}
	for name, first := range clients {
		t.Log(name)
		fronted(t, address, visits, first)
	}
	eventually(t, "all sessions end", func() bool { return p.Stats().Open == 0 })
	if s := p.Stats(); int(s.Unauthenticated) != len(clients) || s.Authenticated != 0 {
		t.Errorf("%+v", s)
	}
}

// Where only FakeTLS is allowed, bytes that no hello begins with are tunneled
// without waiting for more: a host on its own answers as soon.
func TestShortBytesAreFrontedAtOnceWhereOnlyFakeTLSIsAllowed(t *testing.T) {
	host, visits := frontingHost(t)
	p, address := startProxy(t, Config{
		Users:  onlyUser(t, mtwiretest.FakeTLSSecret),
		Fronts: map[string]Front{"": {Address: host}},
	})
	for _, sent := range []string{"h", "\x16\x04", "SSH-2.0-Go\r\n"} {
		began := time.Now()
		fronted(t, address, visits, []byte(sent))
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%q: after %v", sent, took)
		}
	}
	eventually(t, "three clients are counted", func() bool { return p.Stats().Unauthenticated == 3 })
}

// site starts a fronting host with TLS, which sends text, and returns its
// certificate.
func site(t *testing.T, text string) (address string, certificate []byte) {
	t.Helper()
	config, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	ln := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), config)
	t.Cleanup(loopback.Serve(ln, func(conn net.Conn) {
		if conn.(*tls.Conn).Handshake() == nil {
			io.WriteString(conn, text)
		}
	}))
	return ln.Addr().String(), config.Certificates[0].Certificate[0]
}

// browse makes a TLS connection with that server name, as a browser does.
func browse(t *testing.T, address net.Addr, name string) (certificate []byte, text string) {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(short(t), "tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw, string(b)
}

// A crypto/tls client sees the certificate of the host that its server name
// chooses, or of the first host if it is unknown.
func TestBrowsersSeeTheSiteTheyAskFor(t *testing.T) {
	hostA, certificateA := site(t, "this is A")
	hostB, certificateB := site(t, "this is B")
	dc, _ := dataCenter(t)
	users := append(numberedUsers(0, 2, mtproxy.FakeTLS, "a.example"), numberedUsers(2, 2, mtproxy.FakeTLS, "b.example")...)
	address := start(t, Config{
		Users:       users,
		DataCenters: allAt(dc),
		Fronts:      map[string]Front{"b.example": {Address: hostB}, "": {Address: hostA}},
	})
	for name, want := range map[string]struct {
		certificate []byte
		text        string
	}{
		"a.example":       {certificateA, "this is A"},
		"b.example":       {certificateB, "this is B"},
		"B.Example":       {certificateB, "this is B"},
		"www.example.org": {certificateA, "this is A"},
	} {
		certificate, text := browse(t, address, name)
		if !bytes.Equal(certificate, want.certificate) || text != want.text {
			t.Errorf("%s: %q, the right certificate: %v", name, text, bytes.Equal(certificate, want.certificate))
		}
	}
	for _, user := range users {
		join(t, address, "secret="+user.Secrets[0].String())
	}
}

// If no secret has a domain, the host of the empty name is the first, whatever
// else is configured. The case of a domain is ignored.
func TestFrontsAreOfAnyCaseAndOrder(t *testing.T) {
	named := map[string]Front{"": {Address: "site.test:443"}, "Z.example": {Address: "z.test:443"}, "b.example": {Address: "b.test:443"}, "a.example": {Address: "a.test:443"}}
	several := User{Secrets: []mtproxy.Secret{
		{Key: keyOf(0), Mode: mtproxy.Plain},
		{Key: keyOf(1), Mode: mtproxy.FakeTLS, Domain: "c.example"},
		{Key: keyOf(2), Mode: mtproxy.FakeTLS, Domain: "b.example"},
	}}
	for range 20 { // a map has no order
		for _, c := range []struct {
			users []User
			want  string
		}{
			{numberedUsers(0, 1, mtproxy.Plain, ""), "site.test=site.test:443 a.example=a.test:443 b.example=b.test:443 z.example=z.test:443"},
			{append(numberedUsers(0, 1, mtproxy.FakeTLS, "B.example"), numberedUsers(1, 1, mtproxy.FakeTLS, "c.example")...),
				"b.example=b.test:443 c.example=site.test:443 a.example=a.test:443 z.example=z.test:443"},
			{append(numberedUsers(0, 1, mtproxy.FakeTLS, "z.example"), numberedUsers(1, 1, mtproxy.FakeTLS, "Z.EXAMPLE")...),
				"z.example=z.test:443 a.example=a.test:443 b.example=b.test:443"},
			{[]User{several}, "c.example=site.test:443 b.example=b.test:443 a.example=a.test:443 z.example=z.test:443"},
		} {
			hosts, err := fronts(&Config{Fronts: named}, c.users)
			var got []string
			for _, h := range hosts {
				got = append(got, h.Domain+"="+h.Address)
			}
			if text := strings.Join(got, " "); err != nil || text != c.want {
				t.Fatalf("%s, %v\nwant %s", text, err, c.want)
			}
		}
	}
	// The domain of secrets without one comes after those of secrets.
	for _, users := range [][]User{numberedUsers(0, 1, mtproxy.Plain, ""), numberedUsers(0, 1, mtproxy.FakeTLS, "c.example")} {
		hosts, err := fronts(&Config{Fronts: named, Domain: "X.example"}, users)
		i := len(hosts) - len(named) // c.example is the first host of the second
		if err != nil || i != len(users[0].Secrets[0].Domain)/len("c.example") || hosts[i].Domain != "x.example" || hosts[i].Address != "site.test:443" {
			t.Errorf("%v, %v", hosts, err)
		}
	}
	if hosts, err := fronts(&Config{}, numberedUsers(0, 1, mtproxy.Plain, "")); err != nil || len(hosts) != 0 {
		t.Errorf("%v, %v: no host is configured", hosts, err)
	}
}

// measuredHost is a TLS site that keeps the length, as one record, of what it
// sent encrypted before its client answered.
type measuredHost struct {
	mu    sync.Mutex
	sizes []int
}

func (h *measuredHost) serve(config *tls.Config) func(net.Conn) {
	return func(conn net.Conn) {
		r := &writeRecorder{Conn: conn}
		server := tls.Server(&readNotifier{writeRecorder: r, onRead: func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if size := encryptedSize(r.sent); size > 0 {
				h.sizes = append(h.sizes, size)
			}
			r.sent = nil
		}}, config)
		server.Handshake()
		io.Copy(io.Discard, server)
	}
}

// readNotifier calls onRead whenever something has been read.
type readNotifier struct {
	*writeRecorder
	onRead func()
}

func (n *readNotifier) Read(p []byte) (int, error) {
	count, err := n.writeRecorder.Read(p)
	if count > 0 {
		n.onRead()
	}
	return count, err
}

// encryptedSize returns the length of the body of one record that is as long on
// the wire as all encrypted records in b.
func encryptedSize(b []byte) (size int) {
	for len(b) >= 5 {
		n := min(5+int(binary.BigEndian.Uint16(b[3:])), len(b))
		if b[0] == 0x17 {
			size += n
		}
		b = b[n:]
	}
	return size - 5
}

// The encrypted record of the proxy's ServerHello has a length that the fronting
// host's own answers had.
func TestAnswersAreAsLongAsTheHosts(t *testing.T) {
	config, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates[0].Certificate = slices.Repeat(config.Certificates[0].Certificate, 4) // an unusual length
	host := &measuredHost{}
	hosts := map[string]func(net.Conn){"front.test:443": host.serve(config)}
	users := numberedUsers(0, 1, mtproxy.FakeTLS, "a.example")
	inBubble(t, Config{Users: users, Fronts: map[string]Front{"": {Address: "front.test:443"}}}, hosts, func(t *testing.T, b *bubble) {
		ctx, cancel := context.WithCancel(b.ctx)
		probed := make(chan error, 1)
		go func() { probed <- b.fronts.Run(ctx) }()
		time.Sleep(time.Minute)
		host.mu.Lock()
		sizes := slices.Clone(host.sizes)
		host.mu.Unlock()
		if len(sizes) != 4 {
			t.Fatalf("the host has sent %d bytes", sizes)
		}
		sizes = sizes[:3] // the last is a download's
		for range 10 {
			conn := b.connect()
			conn.Write(helloOf(t, keyOf(0), "a.example"))
			var types, lengths []int
			for range 3 {
				head := read(t, conn, 5)
				types = append(types, int(head[0]))
				lengths = append(lengths, int(binary.BigEndian.Uint16([]byte(head[3:]))))
				read(t, conn, lengths[len(lengths)-1])
			}
			if fmt.Sprintf("%x", types) != "[16 14 17]" || !slices.Contains(sizes, lengths[2]) {
				t.Errorf("records of types %x and %d bytes, the host's have %d", types, lengths, sizes)
			}
			conn.Close()
		}
		cancel()
		<-probed
	})
}

// A fronting host that needs a HelloRetryRequest, which FakeTLS clients do not
// support, is warned of once a minute, and clients with a secret get its own
// answer and no other.
func TestClientsOfAHostWithAnotherKeyShareAreTunneled(t *testing.T) {
	config, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	config.CurvePreferences = []tls.CurveID{tls.CurveP384}
	host := &measuredHost{}
	hosts := map[string]func(net.Conn){"front.test:443": host.serve(config)}
	users := numberedUsers(0, 1, mtproxy.FakeTLS, "a.example")
	inBubble(t, Config{Users: users, Fronts: map[string]Front{"": {Address: "front.test:443"}}}, hosts, func(t *testing.T, b *bubble) {
		ctx, cancel := context.WithCancel(b.ctx)
		probed := make(chan error, 1)
		go func() { probed <- b.fronts.Run(ctx) }()
		time.Sleep(time.Minute)
		const warning = "asks FakeTLS clients for another key share (HelloRetryRequest)"
		warned := func() (n int) {
			for _, line := range b.log.lines("level=WARN") {
				if strings.Contains(line, warning) && strings.Contains(line, "enable X25519") {
					n++
				}
			}
			return n
		}
		if warned() != 1 {
			t.Errorf("%d warnings after the measurement", warned())
		}
		time.Sleep(time.Minute)
		for i := range 11 {
			if i == 10 {
				time.Sleep(time.Minute)
			}
			conn := b.connect()
			conn.Write(helloOf(t, keyOf(0), "a.example"))
			head := read(t, conn, 43)
			if !strings.HasPrefix(head, "\x16\x03\x03") || !strings.HasPrefix(head[11:], "\xcf\x21\xad\x74\xe5\x9a\x61\x11") {
				t.Errorf("the answer is %x, no HelloRetryRequest", head)
			}
			conn.Close()
			synctest.Wait()
		}
		if closed := b.log.lines("msg=closed"); len(closed) != 11 || !strings.Contains(closed[0], warning) || !strings.Contains(closed[0], "front=a.example") {
			t.Errorf("%d connections, the first: %s", len(closed), closed)
		}
		if s := b.Stats(); s.Authenticated != 0 || s.Unauthenticated != 11 || warned() != 3 {
			t.Errorf("%+v, %d warnings", s, warned())
		}
		if lines := b.log.lines("unlogged_before"); len(lines) != 1 || !strings.HasSuffix(lines[0], " unlogged_before=9") {
			t.Errorf("%q", lines)
		}
		cancel()
		<-probed
	})
}
