package handshake

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/wsconn"
)

// realTLS completes a TLS handshake and identifies the transport inside.
func (h *Handshake) realTLS(ctx context.Context) error {
	limited, cancel := h.limit(ctx)
	defer cancel()
	conn := tls.Server(h.popLayer(), h.config.TLS)
	if err := conn.HandshakeContext(limited); err != nil {
		return innerError(ctx, err)
	}
	h.transport.TLS, h.transport.ServerName = true, conn.ConnectionState().ServerName
	h.pushLayer(conn, (*Handshake).identify)
	return h.identify(ctx)
}

// acceptedTLS completes the handshake of a TLS connection that is the socket, and
// identifies the transport inside, for whose first byte the client has any time.
func (h *Handshake) acceptedTLS(ctx context.Context) error {
	conn, _ := netx.Below[*tls.Conn](h.conn)
	due := h.tlsIsDue()
	limited, cancel := h.limit(ctx)
	defer cancel()
	if err := conn.HandshakeContext(limited); err != nil {
		return innerError(ctx, err)
	}
	h.transport.ServerName, h.step = conn.ConnectionState().ServerName, (*Handshake).identify
	if due {
		h.deadline.SetLimit(time.Time{})
		h.until = time.Time{}
		if err := h.firstByte(ctx); err != nil {
			return err
		}
		h.startTimer()
	}
	return h.identify(ctx)
}

// tlsIsDue reports whether the socket is a TLS connection before its handshake.
func (h *Handshake) tlsIsDue() bool {
	conn, ok := netx.Below[*tls.Conn](h.conn)
	return ok && !conn.ConnectionState().HandshakeComplete
}

// limit returns a context with the time limit of the current layer, if there is one.
func (h *Handshake) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if h.until.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, h.until)
}

// webSocket upgrades to WebSocket, inside which only an init payload is valid.
func (h *Handshake) webSocket(ctx context.Context) error {
	limited, cancel := h.limit(ctx)
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
