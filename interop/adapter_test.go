package interop

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire"
)

// useUnknownKey sends a message under an auth key that the server cannot know,
// several times. It returns an error unless the answer is transport error 404
// each time.
func useUnknownKey(ctx context.Context, conn transport.Conn, times int) error {
	for range times {
		message := make([]byte, 24+5*16)
		rand.Read(message)
		message[0] |= 1 // a key id of zero means that the message is unencrypted
		if err := conn.Send(ctx, &bin.Buffer{Buf: message}); err != nil {
			return err
		}
		var b bin.Buffer
		err := conn.Recv(ctx, &b)
		var transportError *codec.ProtocolErr
		if !errors.As(err, &transportError) || transportError.Code != codec.CodeAuthKeyNotFound {
			return fmt.Errorf("want transport error 404, got %d bytes and %w", b.Len(), err)
		}
	}
	return nil
}

// adapter makes an mtwire.Conn gotd's transport.Conn, on which the layers of gotd
// above the transport run.
type adapter struct{ conn *mtwire.Conn }

var _ transport.Conn = adapter{}

func (a adapter) Send(ctx context.Context, b *bin.Buffer) error { return a.conn.Send(ctx, b.Buf) }

func (a adapter) Recv(ctx context.Context, b *bin.Buffer) error {
	for {
		p, err := a.conn.Receive(ctx)
		var transportError *mtwire.TransportError
		if errors.As(err, &transportError) {
			return &codec.ProtocolErr{Code: int32(transportError.Code)}
		}
		if err != nil {
			return err
		}
		if p.Kind == mtwire.KindPayload {
			b.Buf = append(b.Buf[:0], p.Payload...)
			return nil
		}
	}
}

func (a adapter) Close() error { return a.conn.Close() }

// dialer is a gotd resolver that dials one endpoint with mtwire for every data
// centre.
type dialer struct {
	endpoint string
	config   *mtwire.DialConfig
}

var _ dcs.Resolver = dialer{}

func (d dialer) Primary(ctx context.Context, _ int, _ dcs.List) (transport.Conn, error) {
	conn, err := mtwire.Dial(ctx, d.endpoint, d.config)
	if err != nil {
		return nil, err
	}
	return adapter{conn}, nil
}

func (d dialer) MediaOnly(ctx context.Context, dc int, list dcs.List) (transport.Conn, error) {
	return d.Primary(ctx, dc, list)
}

func (d dialer) CDN(ctx context.Context, dc int, list dcs.List) (transport.Conn, error) {
	return d.Primary(ctx, dc, list)
}
