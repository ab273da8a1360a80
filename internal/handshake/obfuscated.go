package handshake

import (
	"context"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// obfuscated expects an init payload.
func (h *Handshake) obfuscated(ctx context.Context) (*Result, error) {
	payload, err := h.more(ctx, obfuscation.InitLength)
	if err != nil {
		return nil, err
	}
	h.payload = payload
	err = h.match(h.tryInit, h.tryInitSet)
	if err != nil && h.config.ObfuscatedFull { // which has no tag, and so is tried last
		if h.payload, err = h.more(ctx, obfuscation.FullLength); err != nil {
			return nil, err
		}
		err = h.match(h.tryFull, h.tryFullSet)
	}
	if err != nil && h.imitate {
		return nil, h.rejectInside(err)
	}
	if err != nil {
		return nil, h.reject(err)
	}
	t := h.transport
	t.Obfuscated, t.Protocol, t.DC, t.Secret = true, h.init.Protocol, h.init.DC, h.init.Key
	if err := h.auth.Allow(t, t.Secret); err != nil {
		return nil, h.reject(err)
	}
	if t.Secret >= 0 && !t.FakeTLS && h.auth.Replayed([16]byte(h.payload[8:])) {
		return nil, h.reject(ErrReplay)
	}
	h.transport = t
	result := &Result{Conn: h.conn, Records: h.records, Upload: h.init.Upload, Download: h.init.Download}
	if h.records != nil {
		result.Buffered = h.inner[obfuscation.InitLength:]
		return result, nil
	}
	h.source.Consume(obfuscation.InitLength)
	result.Buffered = h.source.Take()
	return result, nil
}

// match searches for the key of the init payload, and leaves what it found in
// init: the key of the FakeTLS hello, if there was one, or else one of the
// caller's, and after them none if clients without a secret are served.
//
// try is trySet for keys without a set: of the two, only trySet escapes.
func (h *Handshake) match(try func([][16]byte) bool, trySet func(*mtproxy.KeySet) int) error {
	if h.records != nil {
		if !try([][16]byte{h.key}) {
			return ErrNoMatch
		}
		h.init.Key = h.transport.Secret
		return nil
	}
	err := ErrNoMatch
	if h.config.Secrets {
		var key int
		if key, err = h.auth.Find(Query{Length: obfuscation.InitLength, First: h.first()}, trySet); err == nil {
			h.init.Key = key
			return nil
		}
	}
	if h.config.open() && try(nil) {
		return nil
	}
	return err
}

func (h *Handshake) tryInit(keys [][16]byte) bool {
	init, err := obfuscation.Match((*[obfuscation.InitLength]byte)(h.payload), keys)
	h.init = init
	return err == nil
}

func (h *Handshake) tryInitSet(set *mtproxy.KeySet) int {
	if set.Len() == 0 || !h.tryInit(set.Keys()) { // no keys at all would match clients without one
		return -1
	}
	return h.init.Key
}

func (h *Handshake) tryFull(keys [][16]byte) bool {
	init, err := obfuscation.MatchFull((*[obfuscation.FullLength]byte)(h.payload), keys, h.config.MaxLength)
	h.init = init
	return err == nil
}

func (h *Handshake) tryFullSet(set *mtproxy.KeySet) int {
	if set.Len() == 0 || !h.tryFull(set.Keys()) {
		return -1
	}
	return h.init.Key
}
