package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// byteModes are the modes, with the framing that a client announces. What follows the
// init payload is bytes, without packets.
var byteModes = []struct {
	name, secret string
	protocol     frame.Protocol
}{
	{"classic", mtwiretest.PlainSecret, frame.Abridged},
	{"dd", mtwiretest.PaddedSecret, frame.PaddedIntermediate},
	{"ee", mtwiretest.FakeTLSSecret, frame.PaddedIntermediate},
}

// socketBuffer, in bytes, is the buffer of each socket of these tests, so that a
// destination that is not read takes little. The system doubles it.
const socketBuffer = 32 << 10

// limitBuffers gives a socket small buffers.
func limitBuffers(conn net.Conn) net.Conn {
	conn.(*net.TCPConn).SetReadBuffer(socketBuffer)
	conn.(*net.TCPConn).SetWriteBuffer(socketBuffer)
	return conn
}

// smallListener is a listener whose connections have small buffers.
type smallListener struct{ net.Listener }

func (ln smallListener) Accept() (net.Conn, error) {
	conn, err := ln.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return limitBuffers(conn), nil
}

// byteBed is a proxy with a data centre whose connections are streams of bytes.
type byteBed struct {
	t       *testing.T
	secret  mtproxy.Secret
	config  obfuscation.ClientConfig
	address string
	streams chan net.Conn // the data centre's ends
}

// newByteBed starts a proxy whose directions are parked as soon as they are idle for
// idle. beforeDial is called before a data centre is dialled; it may be nil.
func newByteBed(t *testing.T, mode int, idle time.Duration, beforeDial func()) *byteBed {
	m := byteModes[mode]
	b := &byteBed{t: t, secret: secretOf(t, m.secret), streams: make(chan net.Conn, 100)}
	b.config = obfuscation.ClientConfig{Protocol: m.protocol, DC: 2, Key: &b.secret.Key}
	dc := smallListener{listen(t, "tcp", "127.0.0.1:0")}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := dc.Accept()
			if err != nil {
				return
			}
			accepting.Go(func() {
				stream, _, err := obfuscation.Accept(conn, nil)
				if err != nil {
					t.Error(err)
					conn.Close()
					return
				}
				b.streams <- stream
			})
		}
	})
	t.Cleanup(func() { dc.Close(); accepting.Wait() })
	p := newProxy(t, Config{
		Users:       onlyUser(t, m.secret),
		DataCenters: allAt(dc.Addr()),
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if beforeDial != nil && address == dc.Addr().String() { // and not the fronting host
				beforeDial()
			}
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return limitBuffers(conn), nil
		},
	})
	p.relaying.Idle = idle
	ln := smallListener{listen(t, "tcp", "127.0.0.1:0")}
	serve(t, p, ln)
	b.address = ln.Addr().String()
	return b
}

// client returns a client's end, which has sent nothing yet.
func (b *byteBed) client() net.Conn {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	limitBuffers(conn)
	if b.secret.Domain != "" {
		conn = faketls.Client(conn, &faketls.ClientConfig{Key: b.secret.Key, Domain: b.secret.Domain})
	}
	stream, err := obfuscation.Client(conn, &b.config)
	if err != nil {
		b.t.Fatal(err)
	}
	return stream
}

// connect returns both ends of a stream.
func (b *byteBed) connect() (client, server net.Conn) {
	b.t.Helper()
	client = b.client()
	if _, err := client.Write([]byte("begin")); err != nil {
		b.t.Fatal(err)
	}
	server = <-b.streams
	b.t.Cleanup(func() { server.Close() })
	if _, err := io.ReadFull(server, make([]byte, len("begin"))); err != nil {
		b.t.Fatal(err)
	}
	return client, server
}

// pattern is what a stream carries. Its length is a prime, so that a piece which is
// lost, repeated or moved is noticed.
var pattern = func() []byte {
	b := make([]byte, 65_537)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}()

// patterned returns n bytes of the stream, from an offset on.
func patterned(offset, n int) []byte {
	b := make([]byte, 0, n)
	for len(b) < n {
		at := (offset + len(b)) % len(pattern)
		b = append(b, pattern[at:min(len(pattern), at+n-len(b))]...)
	}
	return b
}

// poured is a stream that is under way.
type poured struct {
	total          int
	sent, received atomic.Int64
	trickles       atomic.Int64 // how many have begun
}

// send sends the stream: bulk, and short pieces with silence between them, in which the
// proxy's direction is parked. Some of the latter are a trickle that the receiver does
// not read until no more of it goes in. From time to time send waits until all that it
// has sent has arrived. At the end it is silent, and leaves the connection open.
func (s *poured) send(ctx context.Context, w io.Writer, rng *rand.Rand, idle time.Duration) error {
	silence := time.NewTicker(3 * idle)
	defer silence.Stop()
	for sent := 0; sent < s.total; {
		length := 1 + rng.IntN(128<<10)
		pieces := 1
		switch rng.IntN(6) {
		case 0, 1, 2:
			length, pieces = 1+rng.IntN(16<<10), 8
		case 3:
			length = 4000 + rng.IntN(8<<10)
			pieces = 12 * socketBuffer / length
			s.trickles.Add(1)
		}
		for ; pieces > 0 && sent < s.total; pieces-- {
			n := min(length, s.total-sent)
			if _, err := w.Write(patterned(sent, n)); err != nil {
				return fmt.Errorf("send, after %d bytes: %w", sent, err)
			}
			sent += n
			s.sent.Store(int64(sent))
			silence.Reset(3 * idle)
			<-silence.C
		}
		for rng.IntN(4) == 0 && s.received.Load() < int64(sent) {
			select {
			case <-silence.C:
			case <-ctx.Done():
				return fmt.Errorf("%d bytes of %d have arrived, and no more come", s.received.Load(), sent)
			}
		}
	}
	return nil
}

// receive receives the stream and compares it. At the beginning of a trickle, and from
// time to time, it does not read until the sender makes no progress any more.
func (s *poured) receive(ctx context.Context, r io.Reader, rng *rand.Rand, idle time.Duration) error {
	b := make([]byte, 40<<10)
	tick := time.NewTicker(4 * idle)
	defer tick.Stop()
	trickles := int64(0)
	for got := 0; got < s.total; {
		trickling := s.trickles.Load()
		if trickling > trickles || rng.IntN(64) == 0 {
			for still, before := 0, int64(-1); still < 4 && ctx.Err() == nil; <-tick.C {
				now := s.sent.Load()
				if still++; now != before {
					still, before = 0, now
				}
			}
		}
		trickles = trickling
		n, err := r.Read(b[:1+rng.IntN(len(b))])
		if !bytes.Equal(b[:n], patterned(got, n)) {
			return fmt.Errorf("other bytes at %d to %d", got, got+n)
		}
		got += n
		s.received.Store(int64(got))
		if err != nil && got < s.total {
			return fmt.Errorf("%d bytes of %d have arrived: %w", got, s.total, err)
		}
	}
	return nil
}

// Four streams at a time of 8 MiB that are pushed back now and then, and are silent at
// their end: every byte arrives, in order, although neither side ends its stream or
// sends anything more. So in each mode and direction.
func TestEveryByteArrivesThroughBackPressureAndBeforeSilence(t *testing.T) {
	const streams, total, idle = 4, 8<<20 + 123, time.Millisecond
	for mode, m := range byteModes {
		for _, direction := range []string{"upload", "download"} {
			t.Run(m.name+"/"+direction, func(t *testing.T) {
				t.Parallel()
				b := newByteBed(t, mode, idle, nil)
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
				defer cancel()
				var moving sync.WaitGroup
				for i := range streams {
					client, server := b.connect()
					from, to := client, server
					if direction == "download" {
						from, to = server, client
					}
					context.AfterFunc(ctx, func() { client.Close(); server.Close() }) // ends what waits
					s := &poured{total: total}
					report := func(err error) {
						if err != nil {
							t.Errorf("stream %d: %v", i, err)
							cancel()
						}
					}
					moving.Go(func() { report(s.send(ctx, from, rand.New(rand.NewPCG(uint64(i), 1)), idle)) })
					moving.Go(func() { report(s.receive(ctx, to, rand.New(rand.NewPCG(uint64(i), 2)), idle)) })
				}
				moving.Wait()
			})
		}
	}
}

// Packets that 64 clients send while their data centre is being dialled arrive, and
// those that they send in the moment when it is connected, none lost and none before
// another.
func TestBytesSentDuringTheDialArriveInOrder(t *testing.T) {
	const clients, pieces = 64, 12
	for mode, m := range byteModes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			var dialling atomic.Int64
			connect := make(chan struct{})
			b := newByteBed(t, mode, time.Millisecond, func() { dialling.Add(1); <-connect })
			release := sync.OnceFunc(func() { close(connect) })
			defer release()
			sizes := func(i int) (all []int) { // of a client's pieces
				rng := rand.New(rand.NewPCG(uint64(i), 3))
				for range pieces {
					all = append(all, 8+rng.IntN(3000))
				}
				return all
			}
			var running sync.WaitGroup
			for i := range clients {
				client := b.client()
				client.SetDeadline(time.Now().Add(time.Minute))
				first := binary.BigEndian.AppendUint64(nil, uint64(i)) // the stream begins with its number
				sent := 0
				send := func(n int) {
					piece := patterned(sent, n)
					if sent == 0 {
						copy(piece, first)
					}
					sent += n
					if _, err := client.Write(piece); err != nil {
						t.Errorf("client %d: %v", i, err)
					}
				}
				for _, n := range sizes(i)[:pieces/2] {
					send(n)
				}
				running.Go(func() {
					<-connect
					for _, n := range sizes(i)[pieces/2:] {
						send(n)
					}
					answer := make([]byte, 8)
					if _, err := io.ReadFull(client, answer); err != nil || !bytes.Equal(answer, first) {
						t.Errorf("client %d got %x, %v", i, answer, err)
					}
				})
			}
			eventually(t, "all data centres are being dialled", func() bool { return dialling.Load() == clients })
			release()
			for range clients {
				server := <-b.streams
				running.Go(func() {
					defer server.Close()
					server.SetReadDeadline(time.Now().Add(time.Minute))
					first := make([]byte, 8)
					if _, err := io.ReadFull(server, first); err != nil {
						t.Error(err)
						return
					}
					i := int(binary.BigEndian.Uint64(first))
					total := 0
					for _, n := range sizes(i) {
						total += n
					}
					rest := make([]byte, total-8)
					if n, err := io.ReadFull(server, rest); err != nil || !bytes.Equal(rest, patterned(8, total-8)) {
						t.Errorf("client %d: %d bytes of %d arrived, or others: %v", i, n, len(rest), err)
					}
					server.Write(first)
				})
			}
			running.Wait()
		})
	}
}
