package interop

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/transport"
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
