package proxy

import (
	"errors"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/obfuscation"
)

// watch reads the first packets that a data centre sends, for transport errors
// among them: after a payload or two the kernel moves the rest, and nobody
// looks at it. It decrypts a copy of what passes.
type watch struct {
	decoder  frame.Decoder
	download *obfuscation.KeyStream
	offset   uint64 // of the stream
	payloads int    // seen
	rest     []byte // the beginning of a packet
	failed   func(code uint32)
}

const (
	// watchedPayloads is how many payloads show that all is well.
	watchedPayloads = 2
	// longestError is more than a transport error takes up in any framing,
	// padding included.
	longestError = 32
)

// see looks at the next bytes, and says whether it wants to see more.
func (w *watch) see(b []byte) (more bool) {
	clear := append(w.rest, b[:min(len(b), watchedPayloads*longestError)]...)
	whole := len(clear)-len(w.rest) == len(b)
	w.download.StreamAt(w.offset).XORKeyStream(clear[len(w.rest):], clear[len(w.rest):])
	w.offset += uint64(len(b))
	for len(clear) > 0 {
		p, n, err := w.decoder.Parse(clear)
		if errors.Is(err, frame.ErrIncomplete) {
			break
		}
		if err != nil { // no packets will be found here any more
			return false
		}
		clear = clear[n:]
		switch p.Kind {
		case frame.KindTransportError:
			w.failed(p.Code)
		case frame.KindPayload:
			w.payloads++
		}
	}
	// What is left is the beginning of a packet: of a payload, if it is longer
	// than an error can be.
	w.rest = append([]byte(nil), clear...)
	return whole && len(w.rest) < longestError && w.payloads < watchedPayloads
}
