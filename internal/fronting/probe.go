package fronting

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/netx"
	utls "github.com/refraction-networking/utls"
)

// probeTimeout bounds one handshake with a host.
const probeTimeout = 15 * time.Second

// measurement is the result of a probe with a browser's hello.
type measurement struct {
	kind faketls.Kind // of the hello
	answer
	unasked []int // the lengths of the records that the host sent after the handshake
}

// probe makes a TLS handshake with h, with the ClientHello of a browser, which
// Telegram's clients imitate. If wait is true, it waits for what the host sends
// after the client's Finished without being asked.
//
// The certificate is not verified: an operator may choose any host, and
// unauthenticated clients get the same certificate.
func (p *Pool) probe(ctx context.Context, h *host, wait bool) (m measurement, err error) {
	err = p.visit(ctx, h, h.newProbe(), probeTimeout, func(ctx context.Context, conn *flightConn) error {
		client, err := handshake(ctx, conn, h.Domain)
		if m.answer, err = answerOf(conn, err); err != nil {
			return err
		}
		hello, _, err := faketls.ParseClientHello(conn.hello)
		if err != nil {
			return err
		}
		m.kind = hello.Kind()
		if wait && m.tls13 {
			conn.drain(longGap, maxFlight)
			m.unasked = conn.sinceFlight()
		}
		client.Close() // sends close_notify
		return nil
	})
	return m, err
}

// answerOf returns the answer of a host whose handshake ended with err. A
// HelloRetryRequest is an answer although the client may not be able to follow it.
func answerOf(conn *flightConn, err error) (answer, error) {
	a, parseErr := conn.answer()
	switch {
	case err != nil && a.retry:
		return answer{tls13: true, retry: true}, nil
	case err != nil:
		return answer{}, err
	}
	return a, parseErr
}

// handshake makes a TLS handshake over conn, with the ClientHello of a browser. If
// protocols are given, they replace the browser's ALPN protocols.
func handshake(ctx context.Context, conn *flightConn, domain string, protocols ...string) (*utls.UConn, error) {
	spec, err := utls.UTLSIdToSpec(utls.HelloChrome_Auto)
	if err != nil {
		return nil, err
	}
	if len(protocols) > 0 {
		spec.Extensions = slices.DeleteFunc(spec.Extensions, func(extension utls.TLSExtension) bool {
			if alpn, ok := extension.(*utls.ALPNExtension); ok {
				alpn.AlpnProtocols = protocols
			}
			_, settings := extension.(*utls.ApplicationSettingsExtensionNew) // of HTTP/2
			return settings
		})
	}
	client := utls.UClient(conn, &utls.Config{ServerName: domain, InsecureSkipVerify: true}, utls.HelloCustom)
	if err := client.ApplyPreset(&spec); err != nil {
		return nil, err
	}
	return client, client.HandshakeContext(ctx)
}

// visit dials h, calls use with the connection, within limit, and settles pr. It tells nothing
// about h if this machine has no descriptor for it, or the like.
func (p *Pool) visit(outer context.Context, h *host, pr *probe, limit time.Duration, use func(context.Context, *flightConn) error) error {
	err := p.dialAndUse(outer, h, pr, limit, use)
	switch {
	case outer.Err() != nil:
		h.settle(pr, abandoned)
	case netx.IsLocal(err):
		h.mu.Lock()
		pr.local = err
		h.mu.Unlock()
		h.settle(pr, abandoned)
	default:
		h.settle(pr, silent)
	}
	if err != nil && pr.returned && pr.verdict == silent {
		return h.unusable(errLoop)
	}
	return err
}

func (p *Pool) dialAndUse(outer context.Context, h *host, pr *probe, limit time.Duration, use func(context.Context, *flightConn) error) error {
	ctx, cancel := context.WithTimeout(outer, limit)
	defer cancel()
	conn, err := p.dialForProbe(ctx, h)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	err = use(ctx, &flightConn{Conn: &probeConn{Conn: conn, host: h, probe: pr}})
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil {
		err = ended
	}
	return fmt.Errorf("handshake with fronting host %s: %w", h.Domain, err)
}

// exchange sends hello, a ClientHello, to h and returns the answer. It does not
// complete the handshake, so it needs no private keys.
func (p *Pool) exchange(ctx context.Context, h *host, pr *probe, hello []byte) (a answer, err error) {
	err = p.visit(ctx, h, pr, probeTimeout, func(_ context.Context, conn *flightConn) error {
		if _, err := conn.Write(hello); err != nil {
			return err
		}
		if err := conn.fill(); err != nil {
			return err
		}
		if err := conn.readFlight(longGap); err != nil {
			return err
		}
		a, err = conn.answer()
		return err
	})
	return a, err
}

// browserHello returns a ClientHello of a browser, whose private keys are dropped.
func browserHello(domain string) ([]byte, error) {
	var key [16]byte
	rand.Read(key[:])
	return faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: key, Domain: domain})
}
