package handshake

import (
	"context"
	"errors"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/faketls"
)

// identify decides what the first bytes are, on the socket or inside TLS.
func (h *Handshake) identify(ctx context.Context) (*Result, error) {
	need := 1
	for {
		b, err := h.more(ctx, need)
		if err != nil {
			return nil, err
		}
		if h.config.FakeTLSOnly {
			return h.tls(ctx, b)
		}
		r := detect.First(b, h.config.MaxLength)
		if r.Kind != detect.More && r.Kind != detect.Obfuscated && r.Kind != detect.TLS && !h.config.open() {
			return nil, h.reject(errUnknown)
		}
		switch r.Kind {
		case detect.More:
			need = r.Need
		case detect.Framed:
			return h.framed(r), nil
		case detect.HTTP:
			if string(b[:4]) == "GET " {
				return h.webSocket(ctx)
			}
			return h.http(), nil
		case detect.TLS:
			return h.tls(ctx, b)
		case detect.Obfuscated:
			return h.obfuscated(ctx)
		}
	}
}

// framed ends the handshake with one of the framings in clear.
func (h *Handshake) framed(r detect.Result) *Result {
	h.source.Consume(r.Header)
	h.transport.Protocol = r.Protocol
	return &Result{Conn: h.conn, Buffered: h.source.Take()}
}

// tls takes a TLS record, of which b is the beginning, for FakeTLS, for TLS, or
// for an init payload that happens to begin like one.
func (h *Handshake) tls(ctx context.Context, b []byte) (*Result, error) {
	hello, n, err := faketls.ParseClientHello(b)
	for errors.Is(err, faketls.ErrIncomplete) {
		if b, err = h.more(ctx, n); err != nil {
			return nil, err
		}
		hello, n, err = faketls.ParseClientHello(b)
	}
	reason := err
	if err == nil {
		reason = errUnknown // without secrets, or inside TLS
		if h.config.Secrets && !h.transport.TLS {
			if reason = h.findHello(&hello, n); reason == nil {
				return h.fakeTLS(ctx, &hello, n)
			}
		}
	}
	if h.config.FakeTLSOnly || hasKey(reason) {
		return nil, h.reject(reason)
	}
	realTLS := h.config.TLS != nil && !h.transport.TLS && h.config.open()
	if err == nil && realTLS {
		return h.realTLS(ctx)
	}
	result, err := h.obfuscated(ctx)
	var rejected *UnauthenticatedError
	switch {
	case !errors.As(err, &rejected):
		return result, err
	case realTLS: // FakeTLS requires more of a hello than TLS does
		return h.realTLS(ctx)
	}
	return nil, h.reject(reason)
}

// hasKey reports whether a hello was rejected although its client has a key, for
// its clock, its server name or as a replay. Such a hello is not to be taken for
// anything else.
func hasKey(reason error) bool {
	return !errors.Is(reason, errUnknown) && !errors.Is(reason, ErrNoMatch) && !errors.Is(reason, ErrNotSearched) &&
		!errors.Is(reason, faketls.ErrMalformed)
}
