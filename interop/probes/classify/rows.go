package classify

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/mtwire/mtwire/interop/probes/probe"
)

// Row is a property of a session, at the site and through the proxy.
type Row struct {
	Name  string   `json:"name"`
	Site  []string `json:"site"` // of each of its protocols
	Proxy string   `json:"proxy"`
	Same  bool     `json:"same"`
	// Note means that the row is shown and has no verdict.
	Note bool `json:"note,omitempty"`
}

// compareSessions compares the sessions of browsers with that of a Telegram client,
// which may be like either of them. tickets are the lengths of the records that the
// site sends after the handshake.
func compareSessions(h1, h2, proxy Shape, tickets []int) (rows []Row) {
	add := func(name string, property func(Shape) string, same func(site, proxy Shape) bool) {
		row := Row{Name: name, Site: []string{property(h1), property(h2)}, Proxy: property(proxy), Same: same(h1, proxy) || same(h2, proxy)}
		if row.Site[0] == row.Site[1] {
			row.Site = row.Site[:1]
		}
		rows = append(rows, row)
	}
	size := func(s Shape) int { n, _ := usual(s.Bulk); return n }
	first := proxy.After[:min(len(tickets), len(proxy.After))]
	rows = append(rows, Row{
		Name: "tickets", Site: []string{list(tickets)}, Proxy: list(first), Same: slices.Equal(tickets, first),
	})
	add("record-size", func(s Shape) string {
		length, n := usual(s.Bulk)
		return fmt.Sprintf("%d (%d of %d)", length, n, len(s.Bulk))
	}, func(site, proxy Shape) bool { return size(site) == size(proxy) })
	add("record-ramp", func(s Shape) string {
		before := ramp(s.Bulk)
		return fmt.Sprintf("%d before the usual size: %s", len(before), list(before[:min(6, len(before))]))
	}, func(site, proxy Shape) bool {
		a, b := len(ramp(site.Bulk)), len(ramp(proxy.Bulk))
		return max(a, b)-min(a, b) <= max(1, a/2)
	})
	rows = append(rows, Row{
		Name: "record-histogram", Site: []string{histogram(h1.Bulk), histogram(h2.Bulk)}, Proxy: histogram(proxy.Bulk), Note: true,
	})
	add("records-under-17", func(s Shape) string { return fmt.Sprint(s.Short) }, func(_, proxy Shape) bool { return proxy.Short == 0 })
	add("records-of-other-types", func(s Shape) string { return fmt.Sprint(s.NotData) }, func(_, proxy Shape) bool { return proxy.NotData == 0 })
	add("idle", func(s Shape) string { return s.Idle }, func(site, proxy Shape) bool { return site.Idle == proxy.Idle })
	add("idle-keep-alives", func(s Shape) string { return fmt.Sprint(s.KeepAlives) }, func(site, proxy Shape) bool { return site.KeepAlives == proxy.KeepAlives })
	return append(rows, Row{
		Name: "records-up-under-17", Site: []string{fmt.Sprint(h1.ShortUp)}, Proxy: fmt.Sprint(proxy.ShortUp), Note: true,
	})
}

// compareCloses compares what servers do when the client closes a session that was
// not idle for long.
func compareCloses(h1, h2, proxy Shape) Row {
	return Row{
		Name: "client-closes", Site: []string{h1.Close, h2.Close}, Proxy: proxy.Close,
		Same: proxy.Close == h1.Close || proxy.Close == h2.Close,
	}
}

func list(lengths []int) string {
	if len(lengths) == 0 {
		return "none"
	}
	return strings.Trim(fmt.Sprint(lengths), "[]")
}

// Results returns the rows with a verdict as results of a probe of that site.
func Results(siteName string, rows []Row, known []probe.Known) (results []probe.Result) {
	for _, row := range rows {
		if row.Note {
			continue
		}
		r := probe.Result{Site: siteName, Mode: probe.ModeEE, Probe: "shape/" + row.Name}
		if !row.Same {
			r.Kinds = []probe.Kind{probe.KindShape}
			r.Details = []string{fmt.Sprintf("site %s, proxy %s", strings.Join(row.Site, "; "), row.Proxy)}
		}
		r.Explain(known)
		results = append(results, r)
	}
	return results
}

// PrintTable prints the rows of a site with their verdicts.
func PrintTable(w io.Writer, siteName string, rows []Row) error {
	tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tabs, "%s\tsite\tproxy\tverdict\n", siteName)
	for _, row := range rows {
		verdict := "same"
		switch {
		case row.Note:
			verdict = "-"
		case !row.Same:
			verdict = "DISTINGUISHABLE"
		}
		// Each protocol has a line of its own.
		for i, text := range row.Site {
			if i == 0 {
				fmt.Fprintf(tabs, "%s\t%s\t%s\t%s\n", row.Name, text, row.Proxy, verdict)
			} else {
				fmt.Fprintf(tabs, "\t%s\t\t\n", text)
			}
		}
	}
	return tabs.Flush()
}
