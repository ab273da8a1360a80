package main

import (
	"fmt"
	"io"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// demoTable prints the rows of mtwire demo as they come. A row is a line of 80
// columns, or where the terminal has less, two lines of 60.
type demoTable struct {
	out   io.Writer
	width int
}

// The columns are as wide as the longest values: "direct" and the modes of proxies,
// transports such as "tls, websocket, obfuscated, padded-intermediate", data centres
// such as -10002, and round trip times.
const (
	wideRow     = "%-7s  %-47s  %6s  %6s  %s\n"
	narrowRow   = "%-7s  %6s  %6s  %s\n"
	wideColumns = 80
)

func (t *demoTable) header() {
	if t.width >= wideColumns {
		fmt.Fprintf(t.out, wideRow, "THROUGH", "TRANSPORT", "DC", "RTT", "RESULT")
	} else {
		fmt.Fprintf(t.out, narrowRow, "THROUGH", "DC", "RTT", "RESULT")
	}
}

// row prints the result of a mode, and the error on lines of its own.
func (t *demoTable) row(through string, m mtwiretest.Mode, r row) {
	result, dc, rtt := "ok", "-", "-"
	if r.err != nil {
		result = "failed"
	}
	if m.DC != 0 {
		dc = fmt.Sprint(m.DC)
	}
	if r.roundTrip > 0 {
		rtt = shortDuration(r.roundTrip)
	}
	if t.width >= wideColumns {
		fmt.Fprintf(t.out, wideRow, through, m.Transport, dc, rtt, result)
	} else {
		fmt.Fprintf(t.out, narrowRow, through, dc, rtt, result)
		fmt.Fprintln(t.out, wrapText(m.Transport, 4, t.width))
	}
	if r.err != nil {
		fmt.Fprintln(t.out, wrapText(r.err.Error(), 4, t.width))
	}
}

// shortDuration returns a duration with three digits: 6 characters at most, up to a
// hundred seconds.
func shortDuration(d time.Duration) string {
	unit := time.Duration(1)
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}
