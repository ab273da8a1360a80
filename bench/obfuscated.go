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

// obfuscatedSize is the size of the obfuscated cases' payload, obfuscatedFrame that
// of its Intermediate frame, in bytes.
const (
	obfuscatedSize  = 64 << 10
	obfuscatedFrame = 4 + obfuscatedSize
)

// obfuscatedTarget is 85 % of the cipher's own speed.
const obfuscatedTarget = 0.85

// obfuscatedCases compare Send and Receive of obfuscated 64 KiB with the cipher
// alone. The connection in memory drops written bytes, and copies the bytes that are
// read once, which is the least that io.Reader allows and what the kernel does.
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

// newCTR returns an AES-256-CTR stream.
func newCTR() cipher.Stream {
	block, err := aes.NewCipher(message(32, 3))
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return cipher.NewCTR(block, message(16, 4))
}

// cipherOnly encrypts 64 KiB from one buffer to another.
func cipherOnly(b *testing.B) {
	stream, src, dst := newCTR(), message(obfuscatedFrame, 1), make([]byte, obfuscatedFrame)
	b.SetBytes(obfuscatedSize)
	for b.Loop() {
		stream.XORKeyStream(dst, src)
	}
	sink += touch(dst)
}

// copyAndCipher copies 64 KiB to another buffer and decrypts them there.
func copyAndCipher(b *testing.B) {
	stream, src, dst := newCTR(), message(obfuscatedFrame, 1), make([]byte, obfuscatedFrame)
	b.SetBytes(obfuscatedSize)
	for b.Loop() {
		copy(dst, src)
		stream.XORKeyStream(dst, dst)
	}
	sink += touch(dst)
}

// memoryConn is a connection that drops written bytes. Once feed is set, an endless
// stream of obfuscated frames can be read from it.
type memoryConn struct {
	first []byte // the first bytes written: the init payload
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

// frameFeed is an endless stream of obfuscated Intermediate frames. It is cheap to
// generate: each frame has the same random bytes, which decrypt to different random
// bytes, and only the length in front is encrypted for its offset in the stream.
type frameFeed struct {
	block cipher.Block
	iv    [16]byte
	at    uint64 // offset of frame in the stream
	off   int    // offset of the next byte in frame
	frame []byte
}

// newFrameFeed returns a feed for the client that sent the init payload.
func newFrameFeed(b testing.TB, payload []byte) *frameFeed {
	init, err := obfuscation.Match((*[obfuscation.InitLength]byte)(payload), nil)
	if err != nil {
		b.Fatal(err)
	}
	block, err := aes.NewCipher(init.Download[:32])
	if err != nil {
		b.Fatal(err)
	}
	return &frameFeed{block: block, iv: [16]byte(init.Download[32:]), frame: message(obfuscatedFrame, 1)}
}

// next encrypts the length of the frame at f.at. The length of a frame is a multiple
// of four bytes, so the length field lies within one cipher block.
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

// Read fills p, as reading from a socket with a fast sender does.
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

// memoryClient returns a client on a memoryConn that has sent its init payload.
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

// receiveAll receives one payload in each iteration.
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

// gotdObfuscatedConn is a connection with gotd's obfuscation, as its client uses with
// a proxy.
type gotdObfuscatedConn struct {
	io.ReadWriter
	net.Conn
}

func (c gotdObfuscatedConn) Read(p []byte) (int, error)  { return c.ReadWriter.Read(p) }
func (c gotdObfuscatedConn) Write(p []byte) (int, error) { return c.ReadWriter.Write(p) }

// gotdObfuscated returns a client with gotd's obfuscation and Intermediate on conn.
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

// randomReader is a source of random bytes for an init payload, the same each time.
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

// gotdReceiveAll receives one payload in each iteration.
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

// feedTCP reads an init payload from conn and sends the frames of its feed, one Write
// each, until conn is closed.
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

// readAndCipherTCP does the least that a receiver needs: it reads from the socket and
// decrypts in place, without parsing frames.
func readAndCipherTCP(b *testing.B) {
	near, far := tcpPair(b)
	gotdObfuscated(b, near) // sends an init payload
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
