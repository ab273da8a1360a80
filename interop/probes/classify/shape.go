package classify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/interop/probes/tlswire"
)

// minRecord is the length of the shortest encrypted record of TLS 1.3, a type and a
// tag.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-5.2
const minRecord = 17

// Shape is what an observer can tell of a session. Lengths are of the bodies of
// encrypted records, in bytes.
type Shape struct {
	After      []int  // records down between the flight and the bulk
	Bulk       []int  // records down of the bulk
	Short      int    // records down that are shorter than minRecord
	ShortUp    int    // the same of the client
	NotData    int    // records down after the flight that are not application data
	Idle       string // what the server sent while the session was idle
	KeepAlives int    // the server's TCP keep-alives meanwhile
	Close      string // the server's answer to the client's FIN
}

// newShape returns the shape of a recorded session.
func newShape(c Capture, p phases) (s Shape) {
	up, _ := tlswire.Records(c.Up.Bytes)
	answered := time.Duration(0) // when the client answered the flight
	if len(up) > 0 {
		answered = c.Up.when(tlswire.HeaderLength + len(up[0].Body) + 1)
	}
	for _, r := range up {
		if r.Type == tlswire.TypeData && len(r.Body)+r.Missing < minRecord {
			s.ShortUp++
		}
	}
	down, _ := tlswire.Records(c.Down.Bytes)
	end := 0
	var idle, closing []int
	for _, r := range down {
		end += tlswire.HeaderLength + len(r.Body)
		at := c.Down.when(end)
		if answered == 0 || at < answered || r.Type == tlswire.TypeHandshake || r.Type == tlswire.TypeCCS {
			continue
		}
		if r.Type != tlswire.TypeData {
			s.NotData++
		}
		if len(r.Body)+r.Missing < minRecord {
			s.Short++
		}
		switch n := len(r.Body); {
		case at < p.bulk:
			s.After = append(s.After, n)
		case at < p.idle:
			s.Bulk = append(s.Bulk, n)
		case at < p.close:
			idle = append(idle, n)
		default:
			closing = append(closing, n)
		}
	}
	s.KeepAlives = p.keepAlives
	s.Idle = describeEnd(idle, c.Down, p.idle, p.close)
	s.Close = describeEnd(closing, c.Down, p.close, 1<<62)
	return s
}

// describeEnd describes what a server sent in a phase, and whether it closed.
func describeEnd(records []int, down Stream, from, to time.Duration) string {
	var parts []string
	for _, n := range records {
		parts = append(parts, fmt.Sprintf("record of %d", n))
	}
	switch {
	case down.End == "" || down.EndAt >= to:
		parts = append(parts, "open")
	case down.EndAt < from:
		parts = append(parts, "closed before")
	default:
		parts = append(parts, down.End)
	}
	return strings.Join(parts, ", ")
}

// usual returns the most frequent length, the larger of two, and how many have it.
func usual(lengths []int) (length, n int) {
	counts := make(map[int]int)
	for _, l := range lengths {
		counts[l]++
	}
	for l, count := range counts {
		if count > n || count == n && l > length {
			length, n = l, count
		}
	}
	return length, n
}

// ramp returns the records before the first one of the usual length.
func ramp(lengths []int) []int {
	length, _ := usual(lengths)
	return lengths[:max(slices.Index(lengths, length), 0)]
}

// histogram returns how many of the lengths are in each class.
func histogram(lengths []int) string {
	bounds := []int{minRecord, 128, 512, 1500, 4200, 8200, 16300, 16385, 16640}
	names := []string{"<17", "<128", "<512", "<1500", "<4200", "<8200", "<16300", "<16385", "<16640", "more"}
	counts := make([]int, len(names))
	for _, length := range lengths {
		i := 0
		for i < len(bounds) && length >= bounds[i] {
			i++
		}
		counts[i]++
	}
	var parts []string
	for i, n := range counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", names[i], n))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
