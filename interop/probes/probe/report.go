package probe

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Verdict is a result in a word or two.
func (r Result) Verdict() string {
	if len(r.Kinds) == 0 {
		return "same"
	}
	var kinds []string
	for _, kind := range r.Kinds {
		text := string(kind)
		if slices.Contains(r.Unknown, kind) {
			text = strings.ToUpper(text)
		}
		kinds = append(kinds, text)
	}
	return strings.Join(kinds, "+")
}

// Counts are the numbers of comparisons with each result.
type Counts struct {
	Same    int `json:"same"`
	Known   int `json:"known"`
	Unknown int `json:"unknown"`
}

func (c Counts) String() string {
	return fmt.Sprintf("%d same, %d known differences, %d unknown ones", c.Same, c.Known, c.Unknown)
}

// Count counts results.
func Count(results []Result) (c Counts) {
	for _, r := range results {
		switch {
		case len(r.Unknown) > 0:
			c.Unknown++
		case len(r.Kinds) > 0:
			c.Known++
		default:
			c.Same++
		}
	}
	return c
}

// PrintTable prints a line for each probe and a column for each site and mode. A
// difference that is not known is in capital letters. Probes without a difference
// are printed if all is set.
func PrintTable(w io.Writer, results []Result, all bool) error {
	type column struct {
		site string
		mode Mode
	}
	var columns []column
	var names []string
	cells := make(map[string]map[column]Result)
	for _, r := range results {
		c := column{r.Site, r.Mode}
		if !slices.Contains(columns, c) {
			columns = append(columns, c)
		}
		if cells[r.Probe] == nil {
			names = append(names, r.Probe)
			cells[r.Probe] = make(map[column]Result)
		}
		cells[r.Probe][c] = r
	}
	tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tabs, "probe")
	for _, c := range columns {
		fmt.Fprintf(tabs, "\t%s, %s", c.site, c.mode)
	}
	fmt.Fprintln(tabs)
	same := 0
	for _, name := range names {
		row, differs := name, false
		for _, c := range columns {
			text := "-"
			if r, ok := cells[name][c]; ok {
				text = r.Verdict()
				differs = differs || len(r.Kinds) > 0
			}
			row += "\t" + text
		}
		if differs || all {
			fmt.Fprintln(tabs, row)
		} else {
			same++
		}
	}
	if err := tabs.Flush(); err != nil {
		return err
	}
	if same > 0 {
		fmt.Fprintf(w, "%d more probes: the same everywhere\n", same)
	}
	fmt.Fprintln(w)
	for _, c := range columns {
		counts := Count(slices.DeleteFunc(slices.Clone(results), func(r Result) bool { return column{r.Site, r.Mode} != c }))
		fmt.Fprintf(w, "%s, %s: %v\n", c.site, c.mode, counts)
	}
	return nil
}

// PrintDetails prints the details of each difference: of all, or only of those that
// are not known.
func PrintDetails(w io.Writer, results []Result, all bool) {
	for _, r := range results {
		if len(r.Unknown) == 0 && !(all && len(r.Kinds) > 0) {
			continue
		}
		fmt.Fprintf(w, "\n%s, %s, %s: %s\n", r.Site, r.Mode, r.Probe, r.Verdict())
		for _, side := range []struct {
			name string
			o    Observation
		}{{"site: ", r.AtSite}, {"proxy:", r.AtProxy}} {
			if summary := side.o.Summary(); summary != "" {
				fmt.Fprintf(w, "  %s %s\n", side.name, summary)
			}
		}
		for _, detail := range r.Details {
			fmt.Fprintf(w, "  %s\n", detail)
		}
		for _, reason := range r.Reasons {
			fmt.Fprintf(w, "  known: %s\n", reason)
		}
	}
}

// Obsolete returns the known differences that a comparison was made for and that no
// result has.
func Obsolete(known []Known, results []Result) (obsolete []Known) {
	for _, k := range known {
		compared, used := false, false
		for _, r := range results {
			compared = compared || k.Matches(r.Site, r.Mode, r.Probe)
			used = used || slices.ContainsFunc(r.used, func(u Known) bool { return u.Line == k.Line })
		}
		if compared && !used {
			obsolete = append(obsolete, k)
		}
	}
	return obsolete
}
