package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// The results.
const (
	passed       = "ok"
	failed       = "FAILED"
	notInstalled = "NOT INSTALLED"
	notRun       = "NOT RUN"
	notRequested = "not asked for"
)

// row is the result of a case, or of a client that did not get as far as that.
type row struct {
	Client    string  `json:"client"`
	Version   string  `json:"version,omitempty"`
	Case      string  `json:"case,omitempty"`
	Transport string  `json:"transport,omitempty"`
	Seen      string  `json:"seen,omitempty"` // the transport that the data centre reported
	Tag       string  `json:"tag,omitempty"`
	DC        *int    `json:"dc,omitempty"`
	Request   string  `json:"request,omitempty"`
	Hello     int     `json:"hello,omitempty"`
	Note      string  `json:"note,omitempty"` // printed by the client
	Result    string  `json:"result"`
	Reason    string  `json:"reason,omitempty"`
	Seconds   float64 `json:"seconds,omitempty"`
}

// sent describes what the client sent, as the data centre and the recorder
// reported it.
func (r row) sent() string {
	var parts []string
	if r.Tag != "" {
		parts = append(parts, "tag "+r.Tag)
	}
	if r.DC != nil {
		parts = append(parts, dcText(r.DC))
	}
	if r.Hello != 0 {
		parts = append(parts, fmt.Sprintf("hello %d", r.Hello))
	}
	if r.Request != "" {
		parts = append(parts, r.Request)
	}
	return strings.Join(parts, ", ")
}

// result returns the result with its reason or note.
func (r row) result() string {
	switch {
	case r.Reason != "":
		return r.Result + ": " + r.Reason
	case r.Note != "":
		return r.Result + ": " + r.Note
	}
	return r.Result
}

func (r row) cells() []string {
	name := r.Transport
	if r.Case != r.Transport && r.Case != "" {
		name += " (" + r.Case + ")"
	}
	return []string{r.Client, r.Version, name, r.sent(), r.result(), fmt.Sprintf("%.1f s", r.Seconds)}
}

func dcText(dc *int) string {
	if dc == nil {
		return "no DC"
	}
	return fmt.Sprintf("DC %d", *dc)
}

// table has the results of a run.
type table struct {
	Date       time.Time
	Rows       []row
	Installing time.Duration
	Total      time.Duration
}

var heading = []string{"client", "version", "transport", "sent", "result", "time"}

type counts struct{ passed, failed, notInstalled, notRun, notRequested int }

func (t table) count() (n counts) {
	for _, r := range t.Rows {
		switch r.Result {
		case passed:
			n.passed++
		case failed:
			n.failed++
		case notInstalled:
			n.notInstalled++
		case notRun:
			n.notRun++
		case notRequested:
			n.notRequested++
		}
	}
	return n
}

// verdict returns the error that a run ends with, nil if it passed. The table
// has the reasons.
func (n counts) verdict(strict bool) error {
	switch {
	case n.failed > 0:
		return errors.New("a case or a client failed")
	case strict && n.notInstalled+n.notRun > 0:
		return errors.New("a client could not be installed or run")
	case n == counts{notRequested: n.notRequested}:
		return errors.New("no case was run")
	}
	return nil
}

func (n counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d clients not installed, %d clients not run, %d clients not asked for",
		n.passed, n.failed, n.notInstalled, n.notRun, n.notRequested)
}

func (t table) summary() string {
	return fmt.Sprintf("%v; %v with %v of building and installing", t.count(), t.Total.Round(time.Second), t.Installing.Round(time.Second))
}

// printJSON prints the rows as JSON lines.
func (t table) printJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	for _, r := range t.Rows {
		if err := encoder.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// print prints the table.
func (t table) print(w io.Writer) error {
	tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tabs, strings.Join(heading, "\t"))
	for _, r := range t.Rows {
		fmt.Fprintln(tabs, strings.Join(r.cells(), "\t"))
	}
	return tabs.Flush()
}

// write writes the table as a Markdown document.
func (t table) write(path string) error {
	var b strings.Builder
	fmt.Fprintf(&b, `# Compatibility

Clients of other projects against `+"`mtwire proxy`, `mtwire dc`"+` and the library's listener, as last run: on %s, with
%s, %s/%s, %d processors. `+"`interop/run --write docs/compatibility.md`"+` writes this page;
[interop/clients](../interop/clients/README.md) documents when a case passes.

"sent" is what arrived at the data centre: the framing's tag, the DC id, the length of the TLS or FakeTLS hello, and
the request.

`, t.Date.Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	line := func(cells []string) {
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(strings.ReplaceAll(c, "|", `\|`), "\n", " ")
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	line(append([]string(nil), heading...))
	fmt.Fprintln(&b, strings.Repeat("|---", len(heading))+"|")
	for _, r := range t.Rows {
		line(r.cells())
	}
	fmt.Fprintf(&b, "\n%v.\n", t.count())
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
