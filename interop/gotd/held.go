package gotd

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgtest"
)

// A server answers a request for strings of heldLanguage when it gets one for strings of
// releasingLanguage, and any other at once. So a request can be in flight for as long as a
// test needs.
const (
	heldLanguage      = "held"
	releasingLanguage = "release"
)

// stringRepeats is the number of times that a string has its key.
const stringRepeats = 1000

// stringOf returns the string that a server has for a key.
func stringOf(key string) string { return strings.Repeat(key, stringRepeats) }

// heldRequests are requests that are not answered yet.
type heldRequests struct {
	mu  sync.Mutex
	all []func() error
}

// answer calls send, which answers a request for strings of a language, when it may.
func (h *heldRequests) answer(language string, send func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch language {
	case heldLanguage:
		h.all = append(h.all, send)
		return nil
	case releasingLanguage:
		for _, answer := range h.all {
			if err := answer(); err != nil {
				return err
			}
		}
		h.all = nil
	}
	return send()
}

// registerStrings registers langpack.getStrings, one of few methods with a long answer that
// TDLib calls without an account.
func registerStrings(d *tgtest.Dispatcher) {
	var held heldRequests
	d.HandleFunc(tg.LangpackGetStringsRequestTypeID, func(server *tgtest.Server, req *tgtest.Request) error {
		var get tg.LangpackGetStringsRequest
		if err := get.Decode(req.Buf); err != nil {
			return err
		}
		answer := make([]bin.Encoder, 0, len(get.Keys))
		for _, key := range get.Keys {
			answer = append(answer, &tg.LangPackString{Key: key, Value: stringOf(key)})
		}
		return held.answer(get.LangCode, func() error { return server.SendVector(req, answer...) })
	})
}

// fetchString calls langpack.getStrings for one key, and checks the answer.
func fetchString(ctx context.Context, api *tg.Client, language, key string) error {
	got, err := api.LangpackGetStrings(ctx, &tg.LangpackGetStringsRequest{LangCode: language, Keys: []string{key}})
	if err != nil {
		return fmt.Errorf("langpack.getStrings: %w", err)
	}
	if len(got) == 1 {
		if s, ok := got[0].(*tg.LangPackString); ok && s.Key == key && s.Value == stringOf(key) {
			return nil
		}
	}
	return ErrOtherAnswer
}
