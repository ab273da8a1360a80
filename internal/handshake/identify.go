package handshake

import (
	"context"
	"errors"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/faketls"
)

// identify detects the transport by the first bytes, on the socket or inside TLS.
func (h *Handshake) identify(ctx context.Context) error {
	need := 1
	for {
		b, err := h.readAtLeast(ctx, need)
		if err != nil {
			return err
		}
		if h.config.FakeTLSOnly {
			return h.tls(ctx, b)
		}
		r := detect.First(b, h.config.MaxLength)
		if r.Kind != detect.More && r.Kind != detect.Obfuscated && r.Kind != detect.TLS && !h.config.open() {
			return h.reject(ErrUnknown)
		}
		switch r.Kind {
		case detect.More:
			need = r.Need
		case detect.Framed:
			return h.framed(r)
		case detect.HTTP:
			if string(b[:4]) == "GET " {
				return h.webSocket(ctx)
			}
			return h.http()
		case detect.TLS:
			return h.tls(ctx, b)
		case detect.Obfuscated:
			return h.obfuscated(ctx)
		}
	}
}

// framed ends the handshake of a client with a framing in clear.
func (h *Handshake) framed(r detect.Result) error {
	t := h.transport
	t.Protocol = r.Protocol
	if err := h.auth.Allow(t, t.Secret); err != nil {
		return h.reject(err)
	}
	h.transport = t
	h.source.Consume(r.Header)
	h.result.Conn, h.result.Buffered = h.conn, h.source.Take()
	return nil
}

// tls continues with a TLS record that begins with b. It may be of FakeTLS or TLS, or
// an init payload that begins like a record by chance.
func (h *Handshake) tls(ctx context.Context, b []byte) error {
	hello, n, err := faketls.ParseClientHello(b)
	for errors.Is(err, faketls.ErrIncomplete) {
		if b, err = h.readAtLeast(ctx, n); err != nil {
			return err
		}
		hello, n, err = faketls.ParseClientHello(b)
	}
	reason := err
	if err == nil {
		reason = ErrUnknown // without secrets, or inside TLS
		if h.config.Secrets && !h.transport.TLS {
			if reason = h.findHello(ctx, &hello, n); reason == nil {
				return h.fakeTLS(ctx, &hello, n)
			}
			if h.resumable {
				return reason
			}
		}
	}
	if h.config.FakeTLSOnly || hasKey(reason) {
		return h.reject(reason)
	}
	realTLS := h.config.TLS != nil && !h.transport.TLS && h.config.open()
	switch {
	case err == nil && realTLS:
		return h.realTLS(ctx)
	case err == nil && h.config.Secrets && !h.transport.TLS:
		// No init payload is a whole hello by chance, and a second search costs as
		// much as the first.
		return h.reject(reason)
	}
	err = h.obfuscated(ctx)
	var rejected *UnauthenticatedError
	switch {
	case !errors.As(err, &rejected):
		return err
	case realTLS: // a hello of TLS may be malformed for FakeTLS
		return h.realTLS(ctx)
	}
	return h.reject(reason)
}

// hasKey reports whether a hello was rejected although it has the key of a secret:
// for its clock, its server name or as a replay. Such a hello is no other transport.
func hasKey(reason error) bool {
	return !errors.Is(reason, ErrUnknown) && !errors.Is(reason, ErrNoMatch) && !errors.Is(reason, ErrNotSearched) &&
		!errors.Is(reason, faketls.ErrMalformed)
}
