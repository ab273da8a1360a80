package handshake

import (
	"context"
	"crypto/tls"
	"errors"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/wsconn"
)

// realTLS completes a TLS handshake, and identifies what is inside.
func (h *Handshake) realTLS(ctx context.Context) (*Result, error) {
	limited, cancel := context.WithDeadline(ctx, h.until)
	defer cancel()
	conn := tls.Server(h.popLayer(), h.config.TLS)
	if err := conn.HandshakeContext(limited); err != nil {
		return nil, innerError(ctx, err)
	}
	h.transport.TLS, h.transport.ServerName = true, conn.ConnectionState().ServerName
	h.pushLayer(conn, (*Handshake).identify)
	return h.identify(ctx)
}

// webSocket upgrades, and goes on inside, where only an init payload may be.
func (h *Handshake) webSocket(ctx context.Context) (*Result, error) {
	limited, cancel := context.WithDeadline(ctx, h.until)
	defer cancel()
	conn, err := wsconn.Server(limited, h.popLayer(), h.config.WebSocket)
	if err != nil {
		return nil, innerError(ctx, err)
	}
	h.transport.Carrier = detect.CarrierWebSocket
	h.pushLayer(conn, (*Handshake).obfuscated)
	return h.obfuscated(ctx)
}

// http ends the handshake with a connection that carries requests.
func (h *Handshake) http() *Result {
	h.transport.Carrier = detect.CarrierHTTP
	return &Result{Conn: h.popLayer()}
}

// innerError tells the end of the caller's context from that of the handshake's
// own time, in an error of an inner handshake.
func innerError(ctx context.Context, err error) error {
	if !netx.IsTimeout(err) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return ErrTimeout
}
