package handshake

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtproxy"
)

// findHello decides whether a FakeTLS hello of that length is answered: it checks
// the key, the clock, and that the hello is new. It leaves the key in key, and its
// index in transport's Secret.
func (h *Handshake) findHello(ctx context.Context, hello *faketls.ClientHello, length int) error {
	h.hello = hello
	q := Query{FakeTLS: true, ServerName: hello.SNI, Length: length, First: h.bytes()}
	id := [16]byte(hello.Random[:16])
	key, err := h.find(ctx, q, id, h.tryHello)
	h.hello = nil
	if err != nil {
		return err
	}
	replay := h.replayed(id) // also if the clock is wrong: a replay may have another time
	if err := faketls.CheckClock(h.clientTime, h.config.now(), h.config.ClockWindow); err != nil {
		return err
	}
	if replay {
		return ErrReplay
	}
	h.transport.Secret = key
	return nil
}

func (h *Handshake) tryHello(set *mtproxy.KeySet) int {
	keys := set.Keys()
	i, clientTime := h.hello.MatchAny(keys)
	if i >= 0 {
		h.fits, h.key[0], h.clientTime = true, keys[i], clientTime
	}
	return i
}

// fakeTLS answers an accepted hello of n bytes and continues inside the records.
func (h *Handshake) fakeTLS(ctx context.Context, hello *faketls.ClientHello, n int) error {
	shape, patience, err := h.auth.ServerHello(hello)
	if err != nil {
		return h.reject(err)
	}
	scratch := bufpool.Get(answerLength)
	defer bufpool.Put(scratch)
	answer, err := faketls.AppendServerHello(scratch.B[:0], hello, h.key[0], shape, h.config.Rand)
	if err != nil {
		return err
	}
	h.source.Consume(n)
	h.layered = true
	h.transport.FakeTLS, h.transport.ServerName = true, hello.SNI
	h.records = &faketls.Deframer{From: frame.Client, Strict: patience > 0}
	h.step = (*Handshake).obfuscated

	if patience > 0 {
		h.imitate, h.until = true, time.Now().Add(patience)
	}
	if err := netx.Write(ctx, h.conn, answer, h.until); err != nil {
		return innerError(ctx, err)
	}
	return h.obfuscated(ctx)
}

// answerLength is the length of most answers to a hello, in bytes. A longer one is
// allocated.
const answerLength = 8 << 10

// rejectInside ends a client that had its hello answered and sent no init payload
// behind it. A TLS server ends such a client when the record that it cannot decrypt
// is complete, with an encrypted alert.
func (h *Handshake) rejectInside(reason error) error {
	for !h.records.Complete() {
		h.inner = h.inner[:0]
		if err := h.fill(); err != nil {
			return h.readError(err)
		}
	}
	h.alert()
	return h.reject(reason)
}

// alertLength is the length of an alert's record body in TLS 1.3: level,
// description, content type, and the tag of the cipher.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-5.2
const alertLength = 2 + 1 + 16

// alert sends a record that looks like an encrypted alert, if a TLS server is
// imitated. It ignores errors, because the connection ends in any case.
func (h *Handshake) alert() {
	if !h.imitate {
		return
	}
	record := faketls.AppendRecordHeader(make([]byte, 0, faketls.RecordHeaderLength+alertLength), alertLength)
	record = record[:cap(record)]
	rand.Read(record[faketls.RecordHeaderLength:])
	h.conn.SetWriteDeadline(h.until)
	h.conn.Write(record)
}
