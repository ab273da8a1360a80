package gotd

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/httpconn"
)

// Conn returns conn as gotd's connection, which owns it. A transport error is a
// *codec.ProtocolErr, and quick acknowledgements, which gotd does not ask for, are
// skipped. Its methods may be called concurrently.
//
// A client's Conn over HTTP receives nothing but answers to what it sends: a Resolver's
// connections ask for more by http_wait, this one does not.
func Conn(conn *mtwire.Conn) transport.Conn { return &packets{conn: conn} }

// packets is a connection of mtwire as gotd's transport.Conn.
type packets struct {
	conn *mtwire.Conn

	receiving sync.Mutex
	failed    int // POSTs in a row that failed; guarded by receiving
}

// Send sends b as one packet. It does not keep it.
func (p *packets) Send(ctx context.Context, b *bin.Buffer) error { return p.conn.Send(ctx, b.Buf) }

// Recv replaces the contents of b with the next packet.
func (p *packets) Recv(ctx context.Context, b *bin.Buffer) error {
	p.receiving.Lock()
	defer p.receiving.Unlock()
	for {
		packet, err := p.conn.Receive(ctx)
		if post := (*httpconn.PostError)(nil); errors.As(err, &post) {
			err = p.repeat(post)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return protocolError(err)
		}
		p.failed = 0
		if packet.Kind == mtwire.KindPayload {
			b.Buf = append(b.Buf[:0], packet.Payload...)
			return nil
		}
	}
}

// maxRepeated is the number of failed POSTs in a row that are sent again, each after a
// longer pause. gotd connects again, and sends again what was not answered, after the
// next one.
const maxRepeated = 3

// repeat has the packet of a failed POST sent again, until Close. An MTProto server serves
// a message that it gets twice once. Meanwhile answers to others are received: a POST may
// wait for the place of one whose answer was not.
func (p *packets) repeat(post *httpconn.PostError) error {
	p.failed++
	if p.failed > maxRepeated || !mtwire.Retryable(post) {
		return post
	}
	time.AfterFunc(time.Duration(p.failed)*200*time.Millisecond, func() {
		_ = p.conn.Send(context.Background(), post.Packet) // the error is that of Close
	})
	return nil
}

// protocolError returns gotd's form of a transport error, and other errors as they are.
func protocolError(err error) error {
	if code := (*mtwire.TransportError)(nil); errors.As(err, &code) {
		return &codec.ProtocolErr{Code: int32(code.Code)}
	}
	return err
}

// Close closes the connection. A blocked Send or Recv returns an error.
func (p *packets) Close() error { return p.conn.Close() }
