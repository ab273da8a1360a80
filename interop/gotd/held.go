package gotd

import (
	"encoding/hex"
	"hash/fnv"
	"sync"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgtest"
)

// A server does not answer a request for HeldDocument, or for the strings of
// HeldLanguage, before it gets one for ReleasingDocument or of ReleasingLanguage. So a
// request can be in flight for as long as a test needs.
const (
	HeldDocument      = -1
	ReleasingDocument = -2
	HeldLanguage      = "held"
	ReleasingLanguage = "release"
)

// heldRequests are requests that are not answered yet. A client may send one again.
type heldRequests struct {
	mu  sync.Mutex
	all []func() error
}

// answer calls send, which answers a request: later if the request is held, and after
// the answers of those that are held if it releases them.
func (h *heldRequests) answer(isHeld, releases bool, send func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if isHeld {
		h.all = append(h.all, send)
		return nil
	}
	if releases {
		for _, answer := range h.all {
			if err := answer(); err != nil {
				return err
			}
		}
		h.all = nil
	}
	return send()
}

// registerStrings registers langpack.getStrings, one of few methods with a long request
// and a long answer that TDLib calls without an account.
func registerStrings(d *tgtest.Dispatcher, held *heldRequests) {
	d.HandleFunc(tg.LangpackGetStringsRequestTypeID, func(server *tgtest.Server, req *tgtest.Request) error {
		var get tg.LangpackGetStringsRequest
		if err := get.Decode(req.Buf); err != nil {
			return err
		}
		answer := make([]bin.Encoder, 0, len(get.Keys))
		for _, key := range get.Keys {
			answer = append(answer, &tg.LangPackString{Key: key, Value: StringOf(key)})
		}
		return held.answer(get.LangCode == HeldLanguage, get.LangCode == ReleasingLanguage, func() error {
			return server.SendVector(req, answer...)
		})
	})
}

// stringBytes is the number of bytes whose hexadecimal digits are a string.
const stringBytes = 500

// StringOf returns the string that a server has for a key.
func StringOf(key string) string {
	sum := fnv.New64a()
	sum.Write([]byte(key))
	return hex.EncodeToString(documentBytes(int64(sum.Sum64()), stringBytes))
}
