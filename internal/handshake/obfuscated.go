package handshake

import (
	"context"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// obfuscated continues with an init payload.
func (h *Handshake) obfuscated(ctx context.Context) error {
	payload, err := h.readAtLeast(ctx, obfuscation.InitLength)
	if err != nil {
		return err
	}
	h.payload = payload
	err = h.match(ctx, (*Handshake).tryInit)
	if err != nil && !h.resumable && h.config.ObfuscatedFull { // tried last, because it has no tag
		if h.payload, err = h.readAtLeast(ctx, obfuscation.FullLength); err != nil {
			return err
		}
		err = h.match(ctx, (*Handshake).tryFull)
	}
	if h.resumable {
		return err
	}
	if err != nil && h.imitate {
		return h.rejectInside(err)
	}
	if err != nil {
		return h.reject(err)
	}
	t := h.transport
	t.Obfuscated, t.Protocol, t.DC, t.Secret = true, h.init.Protocol, h.init.DC, h.init.Key
	replay := t.Secret >= 0 && !t.FakeTLS && h.replayed(h.initID()) // also if the mode is not allowed today
	if err := h.auth.Allow(t, t.Secret); err != nil {
		return h.reject(err)
	}
	if replay {
		return h.reject(ErrReplay)
	}
	h.transport = t
	h.result = Result{Conn: h.conn, Records: h.records, Upload: h.init.Upload, Download: h.init.Download, Trailer: h.init.Trailer}
	if h.records != nil {
		h.result.Buffered = h.inner[obfuscation.InitLength:]
		return nil
	}
	h.source.Consume(obfuscation.InitLength)
	h.result.Buffered = h.source.Take()
	return nil
}

// match searches for the key of the init payload and stores the result in init. The
// key is that of the FakeTLS hello, if there was one. Otherwise it is one of Auth's
// or, if clients without a secret are accepted, none.
//
// try is tryInit or tryFull.
func (h *Handshake) match(ctx context.Context, try func(*Handshake, [][16]byte) bool) error {
	if h.records != nil {
		if !try(h, h.key[:]) {
			return ErrNoMatch
		}
		h.init.Key = h.transport.Secret
		return nil
	}
	err := ErrNoMatch
	if h.config.Secrets {
		trySet := func(set *mtproxy.KeySet) int {
			if set.Len() == 0 || !try(h, set.Keys()) { // an empty list would match clients without a secret
				return -1
			}
			h.fits = true
			return h.init.Key
		}
		var key int
		if key, err = h.find(ctx, Query{Length: obfuscation.InitLength, First: h.first()}, h.initID(), trySet); err == nil {
			h.init.Key = key
			return nil
		}
		if h.resumable {
			return err
		}
	}
	if h.config.open() && try(h, nil) {
		return nil
	}
	return err
}

// find searches for the client's secret. If ctx ends the search, it consumed
// nothing, so the handshake may be resumed and searches again.
//
// A hello or init payload whose key fits is remembered by its id even if it is
// rejected. Otherwise its recording would be answered later, when its user has room.
func (h *Handshake) find(ctx context.Context, q Query, id [16]byte, try func(*mtproxy.KeySet) int) (key int, err error) {
	h.fits = false
	key, err = h.auth.Find(ctx, q, try)
	h.resumable = err != nil && err == ctx.Err()
	if err != nil && h.fits {
		h.replayed(id)
	}
	return key, err
}

// replayed calls Auth.Replayed, once for each hello or init payload: one that is
// searched for again, after ctx has ended the search, is no replay of itself.
func (h *Handshake) replayed(id [16]byte) bool {
	if !h.hasID || h.id != id {
		h.hasID, h.id, h.seen = true, id, h.auth.Replayed(id)
	}
	return h.seen
}

// initID is the id of the init payload.
func (h *Handshake) initID() [16]byte { return [16]byte(h.payload[8:]) }

func (h *Handshake) tryInit(keys [][16]byte) bool {
	init, err := obfuscation.Match((*[obfuscation.InitLength]byte)(h.payload), keys)
	h.init = init
	return err == nil
}

func (h *Handshake) tryFull(keys [][16]byte) bool {
	init, err := obfuscation.MatchFull((*[obfuscation.FullLength]byte)(h.payload), keys, h.config.MaxLength)
	h.init = init
	return err == nil
}
