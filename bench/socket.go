package bench

import (
	"bytes"
	"context"
	"net"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/transport"
	"github.com/mtwire/mtwire"
)

// socketCases compare connections over loopback TCP, system calls included: a stream
// of packets in one direction, and round trips of single packets.
func socketCases() []Case {
	var cases []Case
	for _, f := range framings {
		for _, size := range sizes {
			cases = append(cases, Case{
				Group: "TCP, one way", Name: f.protocol.String() + "/" + size.name, Bytes: size.bytes,
				Ours:  func(b *testing.B) { oneWay(b, f, size.bytes) },
				Other: func(b *testing.B) { gotdOneWay(b, f, size.bytes) }, Versus: Gotd,
			})
		}
	}
	for _, size := range sizes {
		f := framings[1]
		cases = append(cases, Case{
			Group: "TCP, round trip", Name: f.protocol.String() + "/" + size.name, Bytes: 2 * size.bytes,
			Ours:  func(b *testing.B) { roundTrip(b, f, size.bytes) },
			Other: func(b *testing.B) { gotdRoundTrip(b, f, size.bytes) }, Versus: Gotd,
		})
	}
	return cases
}

// tcpPair returns both ends of a loopback connection.
func tcpPair(b *testing.B) (client, server net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// connect returns an mtwire client and server that have exchanged a first packet, by
// which the server detects the framing.
func connect(b *testing.B, ctx context.Context, protocol mtwire.Protocol, obfuscated bool) (client, server *mtwire.Conn) {
	near, far := tcpPair(b)
	client, err := mtwire.Client(ctx, near, mtwire.Endpoint{Protocol: protocol, Obfuscated: obfuscated}, nil)
	if err != nil {
		b.Fatal(err)
	}
	server = mtwire.Server(far, nil)
	if err := client.Send(ctx, message(72, 1)); err != nil {
		b.Fatal(err)
	}
	if _, err := server.Receive(ctx); err != nil {
		b.Fatal(err)
	}
	return client, server
}

// gotdConnect returns a gotd client and server that have exchanged a first packet.
func gotdConnect(b *testing.B, ctx context.Context, protocol transport.Protocol) (client, server transport.Conn) {
	near, far := tcpPair(b)
	client, err := protocol.Handshake(near)
	if err != nil {
		b.Fatal(err)
	}
	server, err = transport.ListenCodec(func() transport.Codec { return protocol.Codec() }, &oneListener{far}).Accept()
	if err != nil {
		b.Fatal(err)
	}
	if err := client.Send(ctx, &bin.Buffer{Buf: message(72, 1)}); err != nil {
		b.Fatal(err)
	}
	if err := server.Recv(ctx, &bin.Buffer{}); err != nil {
		b.Fatal(err)
	}
	return client, server
}

// oneListener is a listener that returns one accepted connection.
type oneListener struct{ conn net.Conn }

func (l *oneListener) Accept() (net.Conn, error) { return l.conn, nil }
func (l *oneListener) Close() error              { return nil }
func (l *oneListener) Addr() net.Addr            { return l.conn.LocalAddr() }

func oneWay(b *testing.B, f framing, size int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, server := connect(b, ctx, f.protocol, false)
	payload := message(size, 1)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	sent := make(chan error, 1)
	go func() {
		for range b.N {
			if err := client.Send(ctx, payload); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	sum := uint32(0)
	for range b.N {
		p, err := server.Receive(ctx)
		if err != nil {
			b.Fatal(err)
		}
		sum += touch(p.Payload)
	}
	sink += sum
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
}

func gotdOneWay(b *testing.B, f framing, size int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, server := gotdConnect(b, ctx, f.gotd)
	payload := bin.Buffer{Buf: message(size, 1)}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	sent := make(chan error, 1)
	go func() {
		for range b.N {
			if err := client.Send(ctx, &payload); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	sum := uint32(0)
	var buf bin.Buffer
	for range b.N {
		if err := server.Recv(ctx, &buf); err != nil {
			b.Fatal(err)
		}
		sum += touch(buf.Buf)
	}
	sink += sum
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
}

func roundTrip(b *testing.B, f framing, size int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, server := connect(b, ctx, f.protocol, false)
	payload := message(size, 1)
	b.SetBytes(2 * int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	answered := make(chan error, 1)
	go func() {
		for range b.N {
			p, err := server.Receive(ctx)
			if err == nil {
				err = server.Send(ctx, p.Payload)
			}
			if err != nil {
				answered <- err
				return
			}
		}
		answered <- nil
	}()
	sum := uint32(0)
	for range b.N {
		if err := client.Send(ctx, payload); err != nil {
			b.Fatal(err)
		}
		p, err := client.Receive(ctx)
		if err != nil {
			b.Fatal(err)
		}
		sum += touch(p.Payload)
	}
	sink += sum
	if err := <-answered; err != nil {
		b.Fatal(err)
	}
}

func gotdRoundTrip(b *testing.B, f framing, size int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, server := gotdConnect(b, ctx, f.gotd)
	payload := bin.Buffer{Buf: bytes.Clone(message(size, 1))}
	b.SetBytes(2 * int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	answered := make(chan error, 1)
	go func() {
		var buf bin.Buffer
		for range b.N {
			err := server.Recv(ctx, &buf)
			if err == nil {
				err = server.Send(ctx, &buf)
			}
			if err != nil {
				answered <- err
				return
			}
		}
		answered <- nil
	}()
	sum := uint32(0)
	var buf bin.Buffer
	for range b.N {
		if err := client.Send(ctx, &payload); err != nil {
			b.Fatal(err)
		}
		if err := client.Recv(ctx, &buf); err != nil {
			b.Fatal(err)
		}
		sum += touch(buf.Buf)
	}
	sink += sum
	if err := <-answered; err != nil {
		b.Fatal(err)
	}
}
