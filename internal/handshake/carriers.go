package handshake

import (
	"context"
	"crypto/tls"
	"errors"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/wsconn"
)

// realTLS completes a TLS handshake and identifies the transport inside.
func (h *Handshake) realTLS(ctx context.Context) error {
	limited, cancel := context.WithDeadline(ctx, h.until)
	defer cancel()
	conn := tls.Server(h.popLayer(), h.config.TLS)
	if err := conn.HandshakeContext(limited); err != nil {
		return innerError(ctx, err)
	}
	h.transport.TLS, h.transport.ServerName = true, conn.ConnectionState().ServerName
	h.pushLayer(conn, (*Handshake).identify)
	return h.identify(ctx)
}

// webSocket upgrades to WebSocket, inside which only an init payload is valid.
func (h *Handshake) webSocket(ctx context.Context) error {
	limited, cancel := context.WithDeadline(ctx, h.until)
	defer cancel()
	conn, err := wsconn.Server(limited, h.popLayer(), h.config.WebSocket)
	if err != nil {
		return innerError(ctx, err)
	}
	h.transport.Carrier = detect.CarrierWebSocket
	h.pushLayer(conn, (*Handshake).obfuscated)
	return h.obfuscated(ctx)
}

// http ends the handshake of a client that sends HTTP requests. The result's
// connection returns the first one again.
func (h *Handshake) http() error {
	t := h.transport
	t.Carrier = detect.CarrierHTTP
	if err := h.auth.Allow(t, t.Secret); err != nil {
		return h.reject(err)
	}
	h.transport = t
	h.result.Conn = h.popLayer()
	return nil
}

// innerError returns the error of an inner handshake that failed with err: ctx's if
// it has ended, and ErrTimeout if the handshake's own time has.
func innerError(ctx context.Context, err error) error {
	if !netx.IsTimeout(err) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return ErrTimeout
}
