package faults_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/obfuscation"
	"golang.org/x/sys/unix"
)

// hostileKinds are the kinds of attacks. Each returns soon after its context ends,
// and leaves no connection open.
var hostileKinds = []struct {
	name   string
	attack func(ctx context.Context, s *soak, rng *rand.Rand)
}{
	{"silent", first(func(*soak, *rand.Rand) []byte { return nil })},
	{"one-byte", first(func(_ *soak, rng *rand.Rand) []byte {
		return []byte{"\x16\x15\x14\xef\xee\xdd\x00GPOH\r"[rng.IntN(12)]}
	})},
	{"half-hello", first(func(s *soak, rng *rand.Rand) []byte { return cut(rng, s.signedHello(rng)) })},
	{"half-init", first(func(s *soak, rng *rand.Rand) []byte { return cut(rng, s.init(rng)) })},
	{"trickled", one((*hostile).trickle)},
	{"random-bytes", first(func(_ *soak, rng *rand.Rand) []byte { return randomBytes(rng, 1+rng.IntN(5000)) })},
	{"records", first(func(_ *soak, rng *rand.Rand) []byte { return randomRecords(rng) })},
	{"broken-hello", first(func(s *soak, rng *rand.Rand) []byte { return corrupt(rng, s.signedHello(rng)) })},
	{"huge-hello", first(func(_ *soak, rng *rand.Rand) []byte { return hugeHello(rng) })},
	{"stale-hello", first(func(s *soak, rng *rand.Rand) []byte {
		return s.helloAt(time.Now().Add(time.Duration(rng.IntN(2)*2-1) * time.Hour))
	})},
	{"hello-then-garbage", one((*hostile).helloThenGarbage)},
	{"hello-then-records", one((*hostile).helloThenRecords)},
	{"hello-then-nothing", first((*soak).signedHello)},
	{"replay", one((*hostile).replay)},
	{"http", first(func(_ *soak, rng *rand.Rand) []byte { return []byte(httpRequests[rng.IntN(len(httpRequests))]) })},
	{"proxy-header", one((*hostile).proxyHeaders)},
	{"wrong-secret", one((*hostile).wrongSecret)},
	{"removed-user", one((*hostile).removedUser)},
	{"secret-then-garbage", one((*hostile).secretThenGarbage)},
	{"huge-length", one((*hostile).hugeLength)},
	{"half-close", one((*hostile).halfClose)},
	{"reads-nothing", one((*hostile).readNothing)},
	{"bad-data-center", one((*hostile).badDataCenter)},
	{"browser", one((*hostile).browse)},
	{"reset-at-once", func(ctx context.Context, s *soak, rng *rand.Rand) {
		for range 1 + rng.IntN(30) {
			if conn, err := s.dial(ctx, attackerAddress(rng)); err == nil {
				resetConn(conn)
			}
		}
	}},
	{"flood", floodOnce},
}

// hostile is a hostile client's connection.
type hostile struct {
	*net.TCPConn
	ctx context.Context
	s   *soak
	rng *rand.Rand
}

// one returns an attack by one connection, which is closed or reset at the end.
func one(attack func(*hostile)) func(context.Context, *soak, *rand.Rand) {
	return func(ctx context.Context, s *soak, rng *rand.Rand) {
		conn, err := s.dial(ctx, attackerAddress(rng))
		if err != nil {
			return
		}
		end := leaving(conn, rng)
		defer end()
		defer context.AfterFunc(ctx, end)()
		attack(&hostile{TCPConn: conn, ctx: ctx, s: s, rng: rng})
	}
}

// first returns an attack by one connection with some first bytes, which then stays
// for a while.
func first(bytes func(*soak, *rand.Rand) []byte) func(context.Context, *soak, *rand.Rand) {
	return one(func(h *hostile) {
		h.Write(bytes(h.s, h.rng))
		h.stay()
	})
}

// leaving returns a function that ends a connection in one of the ways there are.
func leaving(conn *net.TCPConn, rng *rand.Rand) (end func()) {
	if rng.IntN(2) == 0 {
		return func() { resetConn(conn) }
	}
	return func() { conn.Close() }
}

// stay keeps the connection until the attack's end, until the proxy ends it, or for a
// moment.
func (h *hostile) stay() {
	switch h.rng.IntN(5) {
	case 0: // goes at once
	case 1:
		sleepUntil(h.ctx, time.Duration(h.rng.IntN(300))*time.Millisecond)
	case 2: // reads nothing
		<-h.ctx.Done()
	case 3:
		h.CloseWrite()
		io.Copy(io.Discard, h)
	default:
		io.Copy(io.Discard, h)
	}
}

// signedHello is the hello of a client with the secret.
func (s *soak) signedHello(*rand.Rand) []byte { return s.helloAt(time.Now()) }

// helloAt is signedHello by a clock.
func (s *soak) helloAt(now time.Time) []byte {
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{
		Key: s.secret.Key, Domain: s.secret.Domain, Time: func() time.Time { return now },
	})
	if err != nil {
		s.t.Error(err)
	}
	return hello
}

// init is the init payload of a client with the secret.
func (s *soak) init(rng *rand.Rand) []byte {
	secret := s.secrets[rng.IntN(len(s.secrets))]
	payload, _, err := obfuscation.NewInit(s.obfuscation(rng, &secret.Key))
	if err != nil {
		s.t.Error(err)
	}
	return payload[:]
}

func (s *soak) obfuscation(rng *rand.Rand, key *[16]byte) *obfuscation.ClientConfig {
	protocols := []frame.Protocol{frame.Abridged, frame.Intermediate, frame.PaddedIntermediate}
	return &obfuscation.ClientConfig{Protocol: protocols[rng.IntN(len(protocols))], DC: 2, Key: key}
}

// trickle sends first bytes of some kind in small pieces with pauses.
func (h *hostile) trickle() {
	b := [](func(*rand.Rand) []byte){h.s.signedHello, h.s.init, hugeHello, randomRecords}[h.rng.IntN(4)](h.rng)
	for len(b) > 0 && h.ctx.Err() == nil {
		n := min(len(b), 1+h.rng.IntN(1+len(b)/8))
		if _, err := h.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
		sleepUntil(h.ctx, time.Duration(h.rng.IntN(200))*time.Millisecond)
	}
	h.stay()
}

func (h *hostile) helloThenGarbage() {
	h.Write(append(h.s.signedHello(h.rng), randomBytes(h.rng, 1+h.rng.IntN(3000))...))
	h.stay()
}

// helloThenRecords shows the secret, reads the answer, and sends records in which
// there is nothing that a client sends.
func (h *hostile) helloThenRecords() {
	tunnel := faketls.Client(h, &faketls.ClientConfig{Key: h.s.secret.Key, Domain: h.s.secret.Domain})
	if err := tunnel.Handshake(h.ctx); err != nil {
		return
	}
	if h.rng.IntN(2) == 0 {
		h.Write(randomRecords(h.rng))
	} else {
		tunnel.Write(randomBytes(h.rng, 1+h.rng.IntN(300)))
	}
	h.stay()
}

// replay sends what another client has sent, whole or in part, perhaps twice.
func (h *hostile) replay() {
	b := h.s.hello.any(h.rng)
	if h.rng.IntN(3) == 0 {
		b = append(bytes.Clone(b), b...)
	}
	h.Write(b)
	h.stay()
}

// proxyHeaders comes from a load balancer with a broken header, or with a good one
// and another attack behind it, or sends a header that is not expected.
func (h *hostile) proxyHeaders() {
	header := proxyHeader(h.rng)
	conn, err := h.s.dial(h.ctx, balancer(h.rng))
	if err != nil {
		return
	}
	defer leaving(conn, h.rng)()
	conn.SetDeadline(time.Now().Add(time.Duration(h.rng.IntN(3000)) * time.Millisecond))
	switch h.rng.IntN(6) {
	case 0:
		conn.Write(cut(h.rng, header))
	case 1:
		conn.Write(corrupt(h.rng, header))
	case 2: // 64 KiB of version 2
		conn.Write(append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff"), randomBytes(h.rng, 4096)...))
	case 3:
		conn.Write(append([]byte("PROXY TCP4 "), bytes.Repeat([]byte("1"), 200)...))
	case 4:
		conn.Write(append(header, h.s.signedHello(h.rng)...))
	default: // not from a load balancer
		h.Write(append(header, h.s.init(h.rng)...))
	}
	io.Copy(io.Discard, conn)
}

// client connects with a secret to a data centre, and returns nil if that fails.
func (h *hostile) client(secret mtwire.Secret, dc mtwire.DC) *mtwire.Conn {
	protocol := frame.PaddedIntermediate
	if secret == h.s.secrets[0] {
		protocol = frame.Intermediate
	}
	c, err := mtwire.Client(h.ctx, h, mtwire.Endpoint{Protocol: protocol, Obfuscated: true, Secret: secret, DC: dc}, nil)
	if err != nil {
		return nil
	}
	return c
}

// anySecret returns the secret, of a random mode.
func (h *hostile) anySecret() mtwire.Secret {
	return h.s.secrets[h.rng.IntN(len(h.s.secrets))]
}

func (h *hostile) wrongSecret() {
	secret := h.anySecret()
	copy(secret.Key[8:], randomBytes(h.rng, 8))
	h.exchangeAndStay(secret, 2)
}

func (h *hostile) removedUser() { h.exchangeAndStay(h.s.removable(), 2) }

func (h *hostile) badDataCenter() {
	h.exchangeAndStay(h.anySecret(), badDataCenters[h.rng.IntN(len(badDataCenters))])
}

func (h *hostile) exchangeAndStay(secret mtwire.Secret, dc mtwire.DC) {
	if c := h.client(secret, dc); c != nil {
		for range 1 + h.rng.IntN(4) {
			if c.Send(h.ctx, make([]byte, 40+4*h.rng.IntN(5000))) != nil {
				break
			}
		}
	}
	h.stay()
}

// stream returns an obfuscated stream to a data centre, perhaps inside FakeTLS, in
// which nothing was framed; nil if that fails.
func (h *hostile) stream() net.Conn {
	var conn net.Conn = h
	secret := h.anySecret()
	config := h.s.obfuscation(h.rng, &secret.Key)
	if secret == h.s.secret {
		config.Protocol = frame.PaddedIntermediate
		conn = faketls.Client(h, &faketls.ClientConfig{Key: h.s.secret.Key, Domain: h.s.secret.Domain})
	}
	stream, err := obfuscation.Client(conn, config)
	if err != nil {
		return nil
	}
	return stream
}

func (h *hostile) secretThenGarbage() {
	if stream := h.stream(); stream != nil {
		for range 1 + h.rng.IntN(5) {
			stream.Write(randomBytes(h.rng, 1+h.rng.IntN(20_000)))
		}
	}
	h.stay()
}

// hugeLength announces packets, records or messages that are as long as their fields
// allow.
func (h *hostile) hugeLength() {
	if stream := h.stream(); stream != nil {
		stream.Write([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3})
	}
	if h.rng.IntN(2) == 0 { // in clear, behind or inside a record
		h.Write([]byte{0x17, 3, 3, 0xff, 0xff, 1, 2, 3})
	}
	h.stay()
}

// halfClose ends its stream behind requests, and reads the answers.
func (h *hostile) halfClose() {
	if c := h.client(h.anySecret(), 2); c != nil {
		c.Send(h.ctx, make([]byte, 56))
	}
	h.CloseWrite()
	io.Copy(io.Discard, h)
}

// readNothing requests data and does not read it.
func (h *hostile) readNothing() {
	h.SetReadBuffer(4 << 10)
	if c := h.client(h.anySecret(), dcFloods); c != nil {
		c.Send(h.ctx, make([]byte, 56))
	}
	<-h.ctx.Done()
}

// browse is a visitor of the site that behaves in another way than browsers do.
func (h *hostile) browse() {
	names := []string{h.s.secret.Domain, "another.example", ""}
	client := tls.Client(h, &tls.Config{InsecureSkipVerify: true, ServerName: names[h.rng.IntN(len(names))]})
	if client.HandshakeContext(h.ctx) == nil {
		client.Write(randomBytes(h.rng, 1+h.rng.IntN(30_000)))
		if h.rng.IntN(2) == 0 {
			h.Write(randomBytes(h.rng, 1+h.rng.IntN(100)))
		}
	}
	h.stay()
}

// floodOnce opens many connections from many addresses, with few bytes or none.
func floodOnce(ctx context.Context, s *soak, rng *rand.Rand) {
	var conns []*net.TCPConn
	network := attackerAddress(rng)
	for range 50 + rng.IntN(250) {
		from := network
		if rng.IntN(3) > 0 {
			from = attackerAddress(rng)
		}
		conn, err := s.dial(ctx, from)
		if err != nil {
			break
		}
		conns = append(conns, conn)
		conn.Write(randomBytes(rng, rng.IntN(4)))
	}
	sleepUntil(ctx, time.Duration(rng.IntN(3000))*time.Millisecond)
	for _, conn := range conns {
		leaving(conn, rng)()
	}
}

// httpRequests are first bytes of HTTP.
var httpRequests = []string{
	"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
	"GET /apiws HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\nSec-WebSocket-Protocol: binary\r\n\r\n",
	"POST /api HTTP/1.1\r\nHost: example.com\r\nContent-Length: 99999999999999999999\r\n\r\n",
	"POST /api HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	"HEAD ", "OPTIONS * HTTP/1.1\r\n", "CONNECT example.com:443 HTTP/1.1\r\n\r\n", "SSH-2.0-x\r\n",
}

// randomBytes returns n random bytes.
func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// cut returns a part of b, from its beginning.
func cut(rng *rand.Rand, b []byte) []byte { return b[:1+rng.IntN(len(b)-1)] }

// corrupt changes some bytes of b.
func corrupt(rng *rand.Rand, b []byte) []byte {
	for range 1 + rng.IntN(4) {
		b[rng.IntN(len(b))] = byte(rng.Uint32())
	}
	return b
}

// randomRecords returns TLS records of random types and lengths, of which the last
// may be truncated.
func randomRecords(rng *rand.Rand) (b []byte) {
	lengths := []int{0, 1, 16, 17, 300, 16384, 16401, 16640, 16641, 65535}
	for range 1 + rng.IntN(4) {
		n := lengths[rng.IntN(len(lengths))]
		b = append(b, byte(0x14+rng.IntN(5)), 3, byte(rng.IntN(5)), byte(n>>8), byte(n))
		b = append(b, randomBytes(rng, min(n, 1+rng.IntN(20_000)))...)
	}
	return b
}

// hugeHello returns a ClientHello of 16 KB in several records that no key has
// signed, or one that announces 16 MB.
func hugeHello(rng *rand.Rand) []byte {
	length := 16384
	if rng.IntN(4) == 0 {
		length = 1<<24 - 1
	}
	message := append([]byte{1, byte(length >> 16), byte(length >> 8), byte(length), 3, 3}, randomBytes(rng, 16382)...)
	message[38] = 32 // length of the session ID
	var b []byte
	for len(message) > 0 {
		n := min(len(message), 2000+rng.IntN(14_000))
		b = append(append(b, 0x16, 3, 1, byte(n>>8), byte(n)), message[:n]...)
		message = message[n:]
	}
	return b
}

// balancer returns the address of a load balancer.
func balancer(rng *rand.Rand) netip.Addr {
	return netip.AddrFrom4([4]byte{127, balancerNetwork, 0, byte(1 + rng.IntN(4))})
}

// proxyHeader returns a PROXY protocol header.
func proxyHeader(rng *rand.Rand) []byte {
	switch rng.IntN(3) {
	case 0:
		return []byte("PROXY TCP4 192.0.2." + string('1'+rune(rng.IntN(9))) + " 127.0.0.1 5555 443\r\n")
	case 1:
		return []byte("PROXY UNKNOWN\r\n")
	}
	header := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64")
	return append(header, byte(rng.IntN(256)), 127, 0, 0, 1, 0x11, 0x11, 1, 0xbb)
}

// recordings are the first bytes of clients with the secret.
type recordings struct {
	mu  sync.Mutex
	all [][]byte
}

const maxRecordings = 64

func (r *recordings) add(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) < maxRecordings {
		r.all = append(r.all, bytes.Clone(b))
		return
	}
	r.all[rand.IntN(maxRecordings)] = bytes.Clone(b)
}

// any returns a recording, or nothing if there is none yet.
func (r *recordings) any(rng *rand.Rand) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return nil
	}
	return r.all[rng.IntN(len(r.all))]
}

// recording records the first Write of a connection.
type recording struct {
	*net.TCPConn
	to   *recordings
	done bool
}

func (r *recording) Write(b []byte) (int, error) {
	if !r.done {
		r.done = true
		r.to.add(b)
	}
	return r.TCPConn.Write(b)
}

// peerGone reports whether the peer has closed or reset the connection, also behind
// bytes that are not read.
func peerGone(conn net.Conn) (gone bool) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) {
		set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		_, err := unix.Poll(set, 0)
		gone = err == nil && set[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}
