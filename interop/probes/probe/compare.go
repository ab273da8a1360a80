package probe

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// tolerance is how much later or earlier than at the site something may happen.
const tolerance = 300 * time.Millisecond

// keepAliveTolerance is the same for keep-alives, which are sampled.
const keepAliveTolerance = 1500 * time.Millisecond

// Kind is a way in which two observations differ.
type Kind string

// The kinds.
const (
	KindBytes     Kind = "bytes"      // what is sent
	KindEnd       Kind = "end"        // FIN, reset, or neither
	KindTime      Kind = "time"       // when
	KindKeepAlive Kind = "keep-alive" // TCP's
	KindShape     Kind = "shape"      // of an authenticated session; see package classify
	KindError     Kind = "error"      // the prober failed
)

// Compare returns the ways in which the proxy's observation differs from the site's,
// and the details of each.
func Compare(site, proxy Observation) (kinds []Kind, details []string) {
	differ := func(kind Kind, format string, args ...any) {
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
		details = append(details, fmt.Sprintf(format, args...))
	}
	if site.Error != "" || proxy.Error != "" {
		differ(KindError, "site: %q, proxy: %q", site.Error, proxy.Error)
		return kinds, details
	}
	sameBytes := true
	for i := range max(len(site.Lines), len(proxy.Lines)) {
		a, b := line(site.Lines, i), line(proxy.Lines, i)
		if a != b {
			differ(KindBytes, "bytes, part %d: site %s, proxy %s", i+1, a, b)
			sameBytes = false
			break
		}
	}
	if site.Transcript != proxy.Transcript {
		differ(KindBytes, "dialogue: %s", firstDifference(site.Transcript, proxy.Transcript))
		sameBytes = false
	}
	if sameBytes {
		if at, d := delay(site.Arrivals, proxy.Arrivals); d > tolerance || d < -tolerance {
			differ(KindTime, "byte %d comes %+.1f s after the site's", at, d.Seconds())
		}
	}
	switch d := proxy.EndAt - site.EndAt; {
	case site.End != proxy.End:
		differ(KindEnd, "end: site %s at %.1f s, proxy %s at %.1f s", site.End, site.EndAt.Seconds(), proxy.End, proxy.EndAt.Seconds())
	case site.End != EndOpen && (d > tolerance || d < -tolerance):
		differ(KindTime, "%s: site at %.1f s, proxy at %.1f s", site.End, site.EndAt.Seconds(), proxy.EndAt.Seconds())
	}
	// Where the ends differ in time, so do the keep-alives before them.
	until := min(site.EndAt, proxy.EndAt)
	a, b := before(site.KeepAlives, until), before(proxy.KeepAlives, until)
	if !slices.EqualFunc(a, b, func(x, y Keepalive) bool { return max(x, y)-min(x, y) < keepAliveTolerance }) {
		differ(KindKeepAlive, "keep-alives: site %s, proxy %s", seconds(a), seconds(b))
	}
	return kinds, details
}

func line(lines []string, i int) string {
	if i >= len(lines) {
		return "nothing"
	}
	return "[" + strings.TrimSpace(lines[i]) + "]"
}

// firstDifference returns the first lines in which two texts differ.
func firstDifference(site, proxy string) string {
	a, b := strings.Split(site, "\n"), strings.Split(proxy, "\n")
	for i := range max(len(a), len(b)) {
		if x, y := line(a, i), line(b, i); x != y {
			return fmt.Sprintf("site %s, proxy %s", x, y)
		}
	}
	return ""
}

// delay returns the largest difference of the times at which a byte arrived, and
// which byte that is. Both arrivals are of the same number of bytes; if not, the
// common ones count.
func delay(site, proxy []Arrival) (at int, largest time.Duration) {
	for i, j := 0, 0; i < len(site) && j < len(proxy); {
		d := proxy[j].At - site[i].At
		total := min(site[i].Total, proxy[j].Total)
		if max(d, -d) > max(largest, -largest) {
			at, largest = total, d
		}
		if site[i].Total == total {
			i++
		}
		if proxy[j].Total == total {
			j++
		}
	}
	return at, largest
}

// before returns those keep-alives that came well before a time.
func before(all []Keepalive, until time.Duration) []Keepalive {
	i := 0
	for i < len(all) && all[i] < until-keepAliveTolerance {
		i++
	}
	return all[:i]
}

func seconds(all []Keepalive) string {
	if len(all) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, d := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%.1f", d.Seconds())
	}
	return "at " + b.String() + " s"
}

// Closest compares the proxy's observation with each of the site's, and returns the
// fewest differences.
func Closest(site []Observation, proxy Observation) (kinds []Kind, details []string, best Observation) {
	for i, s := range site {
		k, d := Compare(s, proxy)
		if i == 0 || len(k) < len(kinds) {
			kinds, details, best = k, d, s
		}
	}
	return kinds, details, best
}
