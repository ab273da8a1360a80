package gotd

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire"
)

// Listener returns ln as gotd's listener: a server of gotd gets connections of every
// transport that ln accepts. Accept reads nothing, so that a silent client delays no
// other, and closing one closes the other.
//
// Over HTTP a client's session has several connections, each of which is a connection of the
// server: one for HTTP answers a session's requests wherever they come from, and http_wait
// when there is something. gotd's test server, tgtest, answers all on the first connection.
func Listener(ln *mtwire.Listener) transport.Listener {
	return transport.ListenCodec(func() transport.Codec { return passing{} }, accepting{ln})
}

// accepting is a listener for transport.ListenCodec, whose connections are for the codec
// passing alone.
type accepting struct{ *mtwire.Listener }

func (l accepting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &passed{Conn: conn}, nil
}

// passed is a connection of packets in the place of one of bytes. gotd sets the deadline
// of a call before it, one call at a time in each direction.
type passed struct {
	*mtwire.Conn
	read, write atomic.Pointer[time.Time]
}

var errPackets = errors.New("a connection of packets has no bytes")

func (c *passed) Read([]byte) (int, error)  { return 0, errPackets }
func (c *passed) Write([]byte) (int, error) { return 0, errPackets }

func (c *passed) SetDeadline(t time.Time) error {
	c.read.Store(&t)
	c.write.Store(&t)
	return nil
}

func (c *passed) SetReadDeadline(t time.Time) error {
	c.read.Store(&t)
	return nil
}

func (c *passed) SetWriteDeadline(t time.Time) error {
	c.write.Store(&t)
	return nil
}

// until returns a context that ends at a deadline, if there is one.
func until(deadline *atomic.Pointer[time.Time]) (context.Context, context.CancelFunc) {
	if t := deadline.Load(); t != nil && !t.IsZero() {
		return context.WithDeadline(context.Background(), *t)
	}
	return context.Background(), func() {}
}

// passing is a codec that has nothing to encode: a passed connection takes and gives
// packets.
type passing struct{}

func (passing) WriteHeader(io.Writer) error { return nil }
func (passing) ReadHeader(io.Reader) error  { return nil }

func (passing) Write(w io.Writer, b *bin.Buffer) error {
	c, ok := w.(*passed)
	if !ok {
		return errPackets
	}
	ctx, cancel := until(&c.write)
	defer cancel()
	// gotd's server sends a transport error as a packet of its number.
	if len(b.Buf) == 4 {
		if number := int32(binary.LittleEndian.Uint32(b.Buf)); number < 0 {
			return c.SendError(ctx, uint32(-number))
		}
	}
	return c.Send(ctx, b.Buf)
}

func (passing) Read(r io.Reader, b *bin.Buffer) error {
	c, ok := r.(*passed)
	if !ok {
		return errPackets
	}
	ctx, cancel := until(&c.read)
	defer cancel()
	packet, err := c.Receive(ctx)
	if err != nil {
		return protocolError(err)
	}
	b.Buf = append(b.Buf[:0], packet.Payload...)
	return nil
}
