package proxy

import (
	"errors"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/obfuscation"
)

// errorScanner looks for transport errors in the first packets that a data centre
// sends. After a payload or two the kernel moves the rest unseen. It decrypts a
// copy of what passes.
type errorScanner struct {
	decoder  frame.Decoder
	download *obfuscation.KeyStream
	offset   uint64 // in the stream
	payloads int    // seen so far
	rest     []byte // the beginning of a packet
	answered func() // called with the first bytes
	failed   func(code uint32)
}

const (
	// enoughPayloads is how many payloads show that there is no transport error.
	enoughPayloads = 2
	// maxErrorLength is more than a transport error takes in any framing,
	// padding included, in bytes.
	maxErrorLength = 32
)

// scan looks at the next bytes of the download, and reports whether it is to see
// more.
func (s *errorScanner) scan(b []byte) (more bool) {
	if s.answered != nil {
		s.answered()
		s.answered = nil
	}
	clear := append(s.rest, b[:min(len(b), enoughPayloads*maxErrorLength)]...)
	complete := len(clear)-len(s.rest) == len(b)
	s.download.StreamAt(s.offset).XORKeyStream(clear[len(s.rest):], clear[len(s.rest):])
	s.offset += uint64(len(b))
	for len(clear) > 0 {
		p, n, err := s.decoder.Parse(clear)
		if errors.Is(err, frame.ErrIncomplete) {
			break
		}
		if err != nil { // no packet can be found behind it
			return false
		}
		clear = clear[n:]
		switch p.Kind {
		case frame.KindTransportError:
			s.failed(p.Code)
		case frame.KindPayload:
			s.payloads++
		}
	}
	// The remainder begins a packet: a payload, if it is longer than an error can
	// be.
	s.rest = append([]byte(nil), clear...)
	return complete && len(s.rest) < maxErrorLength && s.payloads < enoughPayloads
}
