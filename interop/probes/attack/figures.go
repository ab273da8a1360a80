package attack

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/mtwire/mtwire/interop/probes/probe"
	"github.com/mtwire/mtwire/interop/process"
)

// Figures are what was measured in a scenario.
type Figures struct {
	Scenario string `json:"scenario"`
	// Held is how many connections the attacker could open, and Alive how many of
	// them the proxy had not closed at the end.
	Held, Alive int
	Waits       []Waits
	// The proxy's resources before the attack, during it, and after it.
	Before, During, After process.Resources
}

// maxWait is the time within which 95 of 100 newcomers must be served.
const maxWait = 2 * time.Second

// served reports whether newcomers are served as they must be.
func (w Waits) served() bool {
	d, ok := w.quantile(0.95)
	return ok && d <= maxWait
}

// String describes the waits: the median, the 95th percentile, and how many were not
// served.
func (w Waits) String() string {
	text := func(part float64) string {
		d, ok := w.quantile(part)
		if !ok {
			return "-"
		}
		return d.Round(time.Millisecond).String()
	}
	s := text(0.5) + ", " + text(0.95)
	if w.Served < w.Of {
		s += fmt.Sprintf(", %d of %d not served", w.Of-w.Served, w.Of)
	}
	return s
}

// PrintTable prints the figures.
func PrintTable(w io.Writer, all []Figures) error {
	tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tabs, "attack\theld\talive")
	if len(all) > 0 {
		for _, waits := range all[0].Waits {
			fmt.Fprintf(tabs, "\t%s", waits.Kind)
		}
	}
	fmt.Fprintln(tabs, "\tKiB before, during, after\tdescriptors")
	for _, f := range all {
		fmt.Fprintf(tabs, "%s\t%d\t%d", f.Scenario, f.Held, f.Alive)
		for _, waits := range f.Waits {
			fmt.Fprintf(tabs, "\t%v", waits)
		}
		fmt.Fprintf(tabs, "\t%d, %d, %d\t%d, %d, %d\n", f.Before.Resident, f.During.Resident, f.After.Resident,
			f.Before.Descriptors, f.During.Descriptors, f.After.Descriptors)
	}
	return tabs.Flush()
}

// Results returns the waits as results: newcomers that are not served in time are a
// difference.
func Results(all []Figures, known []probe.Known) (results []probe.Result) {
	for _, f := range all {
		for _, waits := range f.Waits {
			r := probe.Result{Site: "-", Mode: probe.ModeEE, Probe: "attack/" + f.Scenario + "-" + waits.Kind}
			if !waits.served() {
				r.Kinds = []probe.Kind{probe.KindTime}
				r.Details = []string{waits.String()}
			}
			r.Explain(known)
			results = append(results, r)
		}
	}
	return results
}
