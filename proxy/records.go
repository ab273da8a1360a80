package proxy

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/internal/splice"
)

// A record of TLS 1.3 has data of at least a byte, a type and the cipher's tag. A
// quick acknowledgement has four bytes, and mostly an answer behind it.
const (
	minRecord  = 1 + 1 + 16
	recordHold = 100 * time.Millisecond
)

// defaultRecords are the records of most sites: nginx's, and those of a host that
// was not measured.
var defaultRecords = recordFraming(fronting.Records{Max: fronting.DefaultMaxRecord})

// framings has the framings of the fronting hosts, so that their sessions share them.
// The zero value is ready for use.
type framings struct {
	last atomic.Pointer[[]measuredFraming] // not changed once it is stored
}

type measuredFraming struct {
	records fronting.Records
	framing *splice.Framing
}

// maxFramings limits the framings that are kept: a host is measured again and again.
const maxFramings = 16

// of returns the framing of the download to a FakeTLS client, whose records are to be
// like those of its fronting host.
func (f *framings) of(r fronting.Records) *splice.Framing {
	var kept []measuredFraming
	if last := f.last.Load(); last != nil {
		kept = *last
	}
	for _, m := range kept {
		if m.records.Max == r.Max && slices.Equal(m.records.Tickets, r.Tickets) && slices.Equal(m.records.Ramp, r.Ramp) {
			return m.framing
		}
	}
	r.Tickets, r.Ramp = slices.Clone(r.Tickets), slices.Clone(r.Ramp) // which may be the caller's
	framing := clientRecords(r)
	if framing != defaultRecords {
		kept = append(slices.Clone(kept[max(0, len(kept)-maxFramings+1):]), measuredFraming{r, framing})
		f.last.Store(&kept)
	}
	return framing
}

// clientRecords returns the framing for a host's records.
func clientRecords(r fronting.Records) *splice.Framing {
	if len(r.Tickets) == 0 && len(r.Ramp) == 0 && (r.Max == 0 || r.Max == fronting.DefaultMaxRecord) {
		return defaultRecords
	}
	return recordFraming(r)
}

func recordFraming(r fronting.Records) *splice.Framing {
	short := func(n int) bool { return n < 2*minRecord } // too short to be cut again
	f := &splice.Framing{
		HeaderLength: faketls.RecordHeaderLength,
		MaxBody:      r.Max,
		Leading:      r.Tickets,
		Ramp:         r.Ramp,
		MinBody:      minRecord,
		Hold:         recordHold,
		PutHeader:    func(header []byte, n int) { faketls.AppendRecordHeader(header[:0], n) },
	}
	if slices.ContainsFunc(f.Leading, short) {
		f.Leading = nil
	}
	if slices.ContainsFunc(f.Ramp, short) {
		f.Ramp = nil
	}
	return f
}
