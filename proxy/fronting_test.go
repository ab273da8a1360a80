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
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// "Wrong secret, wrong SNI, stale clock, plain HTTP": each gets the fronting
// host's answer to its own bytes, and nothing of ours in front of it.
func TestStrangersSeeTheFrontingHost(t *testing.T) {
	host, visits := frontingHost(t)
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	other := keyOf(1)
	p, address := startProxy(t, Config{Users: []User{{Secret: secret}}, Fronts: map[string]string{secret.Domain: host}})
	hello := func(key [16]byte, domain string, off time.Duration) []byte {
		b, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{
			Key: key, Domain: domain, Time: func() time.Time { return time.Now().Add(off) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	strangers := map[string][]byte{
		"a wrong secret, ee":    hello(other, secret.Domain, 0),
		"a wrong name":          hello(secret.Key, "www.example.org", 0),
		"a clock that is early": hello(secret.Key, secret.Domain, -time.Hour),
		"a clock that is late":  hello(secret.Key, secret.Domain, time.Hour),
		"a wrong secret, dd":    initOf(t, other, mtwire.PaddedIntermediate),
		"a mode not allowed":    initOf(t, secret.Key, mtwire.PaddedIntermediate),
		"HTTP":                  []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
		"a WebSocket":           []byte("GET /apiws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
		"abridged":              append([]byte{0xef}, make([]byte, 80)...),
		"intermediate":          append([]byte("\xee\xee\xee\xee\x50\x00\x00\x00"), make([]byte, 80)...),
		"TLS that is none":      append([]byte("\x16\x03\x01\x02\x00\xff"), make([]byte, 600)...),
		"SSH":                   []byte("SSH-2.0-OpenSSH_9.6 and what follows it, to be long enough for an init payload\r\n"),
	}
	for name, first := range strangers {
		t.Log(name)
		fronted(t, address, visits, first)
	}
	eventually(t, "the end of all", func() bool { return p.Stats().Open == 0 })
	if s := p.Stats(); int(s.Strangers) != len(strangers) || s.Authenticated != 0 {
		t.Errorf("%+v", s)
	}
}

// site is a fronting host with TLS, which says its name, and its certificate.
func site(t *testing.T, name string) (address string, certificate []byte) {
	t.Helper()
	config, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	ln := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), config)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				if conn.(*tls.Conn).Handshake() == nil {
					io.WriteString(conn, name)
				}
			})
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String(), config.Certificates[0].Certificate[0]
}

// browse is what a browser does: it makes a TLS connection for that name.
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

// "A real crypto/tls client sees the fronting host's certificate", "several
// domains choose their hosts": whoever names none of them gets the first one's.
func TestBrowsersSeeTheSiteTheyAskFor(t *testing.T) {
	hostA, certificateA := site(t, "this is A")
	hostB, certificateB := site(t, "this is B")
	dc, _ := dataCenter(t)
	users := append(crowd(0, 2, mtproxy.FakeTLS, "a.example"), crowd(2, 2, mtproxy.FakeTLS, "b.example")...)
	address := start(t, Config{
		Users:       users,
		DataCenters: map[datacenter.DC][]string{0: {dc.String()}},
		Fronts:      map[string]string{"b.example": hostB, "": hostA},
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
		join(t, address, "secret="+user.Secret.String())
	}
}

// The host for all that are not named is the first, whatever else is named, if
// no secret has a domain; and a name's case is of no importance.
func TestFrontsAreOfAnyCaseAndOrder(t *testing.T) {
	named := map[string]string{"": "site.test:443", "Z.example": "z.test:443", "b.example": "b.test:443", "a.example": "a.test:443"}
	for range 20 { // a map has no order
		for _, c := range []struct {
			users []User
			want  string
		}{
			{crowd(0, 1, mtproxy.Plain, ""), "site.test=site.test:443 a.example=a.test:443 b.example=b.test:443 z.example=z.test:443"},
			{append(crowd(0, 1, mtproxy.FakeTLS, "B.example"), crowd(1, 1, mtproxy.FakeTLS, "c.example")...),
				"b.example=b.test:443 c.example=site.test:443 a.example=a.test:443 z.example=z.test:443"},
			{append(crowd(0, 1, mtproxy.FakeTLS, "z.example"), crowd(1, 1, mtproxy.FakeTLS, "Z.EXAMPLE")...),
				"z.example=z.test:443 a.example=a.test:443 b.example=b.test:443"},
		} {
			hosts, err := fronts(&Config{Users: c.users, Fronts: named})
			var got []string
			for _, h := range hosts {
				got = append(got, h.Domain+"="+h.Address)
			}
			if text := strings.Join(got, " "); err != nil || text != c.want {
				t.Fatalf("%s, %v\nwant %s", text, err, c.want)
			}
		}
	}
	if hosts, err := fronts(&Config{Users: crowd(0, 1, mtproxy.Plain, "")}); err != nil || len(hosts) != 0 {
		t.Errorf("%v, %v: nobody was named", hosts, err)
	}
}

// flights is a TLS site that keeps the length, as one record, of what it sent
// encrypted before its visitor answered.
type flights struct {
	mu    sync.Mutex
	sizes []int
}

func (f *flights) serve(config *tls.Config) func(net.Conn) {
	return func(conn net.Conn) {
		r := &recording{Conn: conn}
		server := tls.Server(&answered{recording: r, answer: func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			if size := encryptedSize(r.sent); size > 0 {
				f.sizes = append(f.sizes, size)
			}
			r.sent = nil
		}}, config)
		server.Handshake()
		io.Copy(io.Discard, server)
	}
}

// answered calls answer whenever something has been read.
type answered struct {
	*recording
	answer func()
}

func (a *answered) Read(p []byte) (int, error) {
	n, err := a.recording.Read(p)
	if n > 0 {
		a.answer()
	}
	return n, err
}

// encryptedSize is the length of one record as long on the wire as all
// encrypted ones in b.
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

// "Flight from a real TLS fronting host reaches the client's ServerHello":
// the record's length on the wire is one that the host had.
func TestAnswersAreAsLongAsTheHosts(t *testing.T) {
	config, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates[0].Certificate = slices.Repeat(config.Certificates[0].Certificate, 4) // a length of its own
	seen := &flights{}
	hosts := map[string]func(net.Conn){"front.test:443": seen.serve(config)}
	user := crowd(0, 1, mtproxy.FakeTLS, "a.example")
	inBubble(t, Config{Users: user, Fronts: map[string]string{"": "front.test:443"}}, hosts, func(t *testing.T, b *bubble) {
		ctx, cancel := context.WithCancel(b.ctx)
		measured := make(chan error, 1)
		go func() { measured <- b.front.Run(ctx) }()
		time.Sleep(time.Minute)
		seen.mu.Lock()
		sizes := slices.Clone(seen.sizes)
		seen.mu.Unlock()
		if len(sizes) != 3 {
			t.Fatalf("the host has sent flights of %d bytes", sizes)
		}
		for range 10 {
			conn := b.connect()
			hello := helloOf(t, keyOf(0), "a.example")
			conn.Write(hello)
			var types, lengths []int
			for range 3 {
				head := read(t, conn, 5)
				types = append(types, int(head[0]))
				lengths = append(lengths, int(binary.BigEndian.Uint16([]byte(head[3:]))))
				read(t, conn, lengths[len(lengths)-1])
			}
			if fmt.Sprintf("%x", types) != "[16 14 17]" || !slices.Contains(sizes, lengths[2]) {
				t.Errorf("records of types %x and %d bytes, the host's flights have %d", types, lengths, sizes)
			}
			conn.Close()
		}
		cancel()
		<-measured
	})
}
