package bench

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"net"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mtproxy"
	"github.com/gotd/td/mtproxy/obfuscated2"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/transport"
	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/obfuscation"
)

// obfuscatedSize is the payload of the obfuscated cases, obfuscatedFrame what
// stands on the wire for it in Intermediate.
const (
	obfuscatedSize  = 64 << 10
	obfuscatedFrame = 4 + obfuscatedSize
)

// obfuscatedTarget is the promise: 85 % of the cipher's own speed.
const obfuscatedTarget = 0.85

// obfuscatedCases compare Send and Receive of obfuscated 64 KiB with the
// cipher alone. Over memory the connection below takes what is written and
// does nothing with it, as little as any connection can do; what is read from
// it is copied once, as little as io.Reader allows and as the kernel does.
func obfuscatedCases() []Case {
	const name = "intermediate/64KiB"
	one := func(group, versus string, target float64, ours, other func(b *testing.B)) Case {
		return Case{Group: group, Name: name, Bytes: obfuscatedSize, Versus: versus, Target: target, Ours: ours, Other: other}
	}
	return []Case{
		one("obfuscated send, memory", "AES-CTR", obfuscatedTarget, obfuscatedSend, cipherOnly),
		one("obfuscated send, memory", Gotd, 0, obfuscatedSend, gotdObfuscatedSend),
		one("obfuscated receive, memory", "copy + AES-CTR", obfuscatedTarget, obfuscatedReceive, copyAndCipher),
		one("obfuscated receive, memory", "AES-CTR", 0, obfuscatedReceive, cipherOnly),
		one("obfuscated receive, memory", Gotd, 0, obfuscatedReceive, gotdObfuscatedReceive),
		one("obfuscated receive, TCP", "read + AES-CTR", obfuscatedTarget, obfuscatedReceiveTCP, readAndCipherTCP),
		one("obfuscated receive, TCP", Gotd, 0, obfuscatedReceiveTCP, gotdObfuscatedReceiveTCP),
	}
}

func newCTR() cipher.Stream {
	block, err := aes.NewCipher(message(32, 3))
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return cipher.NewCTR(block, message(16, 4))
}

// cipherOnly encrypts 64 KiB from one place to another.
func cipherOnly(b *testing.B) {
	stream, src, dst := newCTR(), message(obfuscatedFrame, 1), make([]byte, obfuscatedFrame)
	b.SetBytes(obfuscatedSize)
	for b.Loop() {
		stream.XORKeyStream(dst, src)
	}
	sink += touch(dst)
}

// copyAndCipher takes 64 KiB out of one place and decrypts them in another.
func copyAndCipher(b *testing.B) {
	stream, src, dst := newCTR(), message(obfuscatedFrame, 1), make([]byte, obfuscatedFrame)
	b.SetBytes(obfuscatedSize)
	for b.Loop() {
		copy(dst, src)
		stream.XORKeyStream(dst, dst)
	}
	sink += touch(dst)
}

// memoryConn is a connection whose peer takes everything, and sends an endless
// stream of obfuscated frames once it knows the keys.
type memoryConn struct {
	first []byte // what was written first
	feed  *frameFeed
}

func (c *memoryConn) Write(p []byte) (int, error) {
	if c.first == nil {
		c.first = bytes.Clone(p)
	}
	return len(p), nil
}

func (c *memoryConn) Read(p []byte) (int, error) {
	if c.feed == nil {
		return 0, errors.New("nothing to read")
	}
	return c.feed.Read(p)
}

func (c *memoryConn) Close() error                     { return nil }
func (c *memoryConn) LocalAddr() net.Addr              { return memoryAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr             { return memoryAddr{} }
func (c *memoryConn) SetDeadline(time.Time) error      { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory" }

// frameFeed is an endless stream of obfuscated Intermediate frames. To make it
// costs next to nothing: the same random bytes come again and again, which
// decrypt to other random bytes, and only the length in front is encrypted
// for the place where it stands.
type frameFeed struct {
	block cipher.Block
	iv    [16]byte
	at    uint64 // place in the stream where frame starts
	off   int    // place in frame
	frame []byte
}

// newFrameFeed reads the keys from the client's init payload.
func newFrameFeed(b testing.TB, init []byte) *frameFeed {
	hello, err := obfuscation.Match((*[obfuscation.InitLength]byte)(init), nil)
	if err != nil {
		b.Fatal(err)
	}
	block, err := aes.NewCipher(hello.Download[:32])
	if err != nil {
		b.Fatal(err)
	}
	return &frameFeed{block: block, iv: [16]byte(hello.Download[32:]), frame: message(obfuscatedFrame, 1)}
}

// next encrypts the length of the frame that starts at f.at. Frames are
// multiples of four bytes, so it lies within one block.
func (f *frameFeed) next() {
	high, low := binary.BigEndian.Uint64(f.iv[:]), binary.BigEndian.Uint64(f.iv[8:])
	low, carry := bits.Add64(low, f.at/16, 0)
	var counter [16]byte
	binary.BigEndian.PutUint64(counter[:], high+carry)
	binary.BigEndian.PutUint64(counter[8:], low)
	f.block.Encrypt(counter[:], counter[:])
	mask := binary.LittleEndian.Uint32(counter[f.at%16:])
	binary.LittleEndian.PutUint32(f.frame, obfuscatedSize^mask)
}

// Read gives as much as p takes, as a socket does behind which a fast sender
// sits.
func (f *frameFeed) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if f.off == 0 {
			f.next()
		}
		k := copy(p[n:], f.frame[f.off:])
		n += k
		if f.off += k; f.off == len(f.frame) {
			f.at, f.off = f.at+uint64(len(f.frame)), 0
		}
	}
	return n, nil
}

var obfuscatedEndpoint = mtwire.Endpoint{Protocol: mtwire.Intermediate, Obfuscated: true}

// memoryClient is a client whose init payload has gone out.
func memoryClient(b testing.TB, ctx context.Context) (*memoryConn, *mtwire.Conn) {
	conn := &memoryConn{}
	client, err := mtwire.Client(ctx, conn, obfuscatedEndpoint, nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := client.Handshake(ctx); err != nil {
		b.Fatal(err)
	}
	return conn, client
}

func obfuscatedSend(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, client := memoryClient(b, ctx)
	payload := message(obfuscatedSize, 1)
	b.SetBytes(obfuscatedSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := client.Send(ctx, payload); err != nil {
			b.Fatal(err)
		}
	}
}

func obfuscatedReceive(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn, client := memoryClient(b, ctx)
	conn.feed = newFrameFeed(b, conn.first)
	receiveAll(b, ctx, client)
}

func receiveAll(b *testing.B, ctx context.Context, client *mtwire.Conn) {
	b.SetBytes(obfuscatedSize)
	b.ReportAllocs()
	for b.Loop() {
		p, err := client.Receive(ctx)
		if err != nil || len(p.Payload) != obfuscatedSize {
			b.Fatal(len(p.Payload), err)
		}
		sink += touch(p.Payload)
	}
}

// gotdObfuscatedConn puts gotd's obfuscation on conn, and its Intermediate on
// that, the way its client does with a proxy.
type gotdObfuscatedConn struct {
	io.ReadWriter
	net.Conn
}

func (c gotdObfuscatedConn) Read(p []byte) (int, error)  { return c.ReadWriter.Read(p) }
func (c gotdObfuscatedConn) Write(p []byte) (int, error) { return c.ReadWriter.Write(p) }

func gotdObfuscated(b *testing.B, conn net.Conn) transport.Conn {
	obfuscated := obfuscated2.NewObfuscated2(randomReader{}, conn)
	if err := obfuscated.Handshake(codec.Intermediate{}.ObfuscatedTag(), 2, mtproxy.Secret{}); err != nil {
		b.Fatal(err)
	}
	protocol := transport.NewProtocol(func() transport.Codec { return codec.NoHeader{Codec: codec.Intermediate{}} })
	client, err := protocol.Handshake(gotdObfuscatedConn{obfuscated, conn})
	if err != nil {
		b.Fatal(err)
	}
	return client
}

// randomReader is a source for an init payload, the same each time.
type randomReader struct{}

func (randomReader) Read(p []byte) (int, error) { return copy(p, message(len(p), 5)), nil }

func gotdObfuscatedSend(b *testing.B) {
	client := gotdObfuscated(b, &memoryConn{})
	payload := bin.Buffer{Buf: message(obfuscatedSize, 1)}
	b.SetBytes(obfuscatedSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := client.Send(context.Background(), &payload); err != nil {
			b.Fatal(err)
		}
	}
}

func gotdObfuscatedReceive(b *testing.B) {
	conn := &memoryConn{}
	client := gotdObfuscated(b, conn)
	conn.feed = newFrameFeed(b, conn.first)
	gotdReceiveAll(b, client)
}

func gotdReceiveAll(b *testing.B, client transport.Conn) {
	var buf bin.Buffer
	b.SetBytes(obfuscatedSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := client.Recv(context.Background(), &buf); err != nil || len(buf.Buf) != obfuscatedSize {
			b.Fatal(len(buf.Buf), err)
		}
		sink += touch(buf.Buf)
	}
}

// feedTCP sends the frames that fit the init payload which arrives at conn,
// one Write each, until conn is closed.
func feedTCP(b *testing.B, conn net.Conn) {
	init := make([]byte, obfuscation.InitLength)
	if _, err := io.ReadFull(conn, init); err != nil {
		b.Fatal(err)
	}
	feed := newFrameFeed(b, init)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			feed.next()
			if _, err := conn.Write(feed.frame); err != nil {
				return
			}
			feed.at += obfuscatedFrame
		}
	}()
	b.Cleanup(func() { conn.Close(); <-done })
}

func obfuscatedReceiveTCP(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	near, far := tcpPair(b)
	client, err := mtwire.Client(ctx, near, obfuscatedEndpoint, nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := client.Handshake(ctx); err != nil {
		b.Fatal(err)
	}
	feedTCP(b, far)
	receiveAll(b, ctx, client)
}

func gotdObfuscatedReceiveTCP(b *testing.B) {
	near, far := tcpPair(b)
	client := gotdObfuscated(b, near)
	feedTCP(b, far)
	gotdReceiveAll(b, client)
}

// readAndCipherTCP is the least that a receiver does: it fills a buffer from
// the socket and decrypts it there, frame or not.
func readAndCipherTCP(b *testing.B) {
	near, far := tcpPair(b)
	gotdObfuscated(b, near) // any init payload does
	feedTCP(b, far)
	stream, buf := newCTR(), make([]byte, obfuscatedFrame)
	b.SetBytes(obfuscatedSize)
	for b.Loop() {
		if _, err := io.ReadFull(near, buf); err != nil {
			b.Fatal(err)
		}
		stream.XORKeyStream(buf, buf)
		sink += touch(buf)
	}
}
