package handshake

import (
	"context"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtproxy"
)

// findHello decides whether a FakeTLS hello of that length is answered: it checks
// the key, the clock, and that the hello is new. It leaves the key in key, and its
// index in transport's Secret.
func (h *Handshake) findHello(hello *faketls.ClientHello, length int) error {
	h.hello = hello
	q := Query{FakeTLS: true, ServerName: hello.SNI, Length: length}
	key, err := h.auth.Find(q, h.tryHello)
	h.hello = nil
	if err != nil {
		return err
	}
	if err := faketls.CheckClock(h.clientTime, h.config.now(), h.config.ClockWindow); err != nil {
		return err
	}
	if h.auth.Replayed([16]byte(hello.Random[:16])) {
		return ErrReplay
	}
	h.transport.Secret = key
	return nil
}

func (h *Handshake) tryHello(set *mtproxy.KeySet) int {
	keys := set.Keys()
	i, clientTime := h.hello.MatchAny(keys)
	if i >= 0 {
		h.key, h.clientTime = keys[i], clientTime
	}
	return i
}

// fakeTLS answers a hello of n bytes that was accepted, and goes on inside its
// records.
func (h *Handshake) fakeTLS(ctx context.Context, hello *faketls.ClientHello, n int) (*Result, error) {
	answer, err := faketls.AppendServerHello(nil, hello, h.key, h.auth.ServerHello(hello.SNI), h.config.Rand)
	if err != nil {
		return nil, err
	}
	h.source.Consume(n)
	h.layered = true
	h.transport.FakeTLS, h.transport.ServerName = true, hello.SNI
	h.records = &faketls.Deframer{From: frame.Client}
	h.step = (*Handshake).obfuscated

	i := netx.Interrupt(ctx, h.conn.SetWriteDeadline)
	i.SetDeadline(h.until)
	_, err = h.conn.Write(answer)
	i.Finish()
	if err != nil {
		return nil, innerError(ctx, err)
	}
	return h.obfuscated(ctx)
}
