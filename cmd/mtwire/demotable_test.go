package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mtwire/mtwire/mtwiretest"
)

// All modes fit 80 columns and 60, also where they fail.
func TestDemoFitsTheWidth(t *testing.T) {
	for _, width := range []int{80, 60, 40} {
		var out strings.Builder
		table := demoTable{&out, width}
		table.header()
		for _, m := range slices.Concat(mtwiretest.DirectModes(), mtwiretest.ProxiedModes()) {
			table.row("classic", m, row{123456 * time.Microsecond, nil})
			table.row("direct", m, row{0, errors.New("dial: " + strings.Repeat("a long error ", 10))})
		}
		for line := range strings.SplitSeq(out.String(), "\n") {
			if utf8.RuneCountInString(line) > width {
				t.Errorf("%d columns: %q", width, line)
			}
		}
		if text := out.String(); !strings.Contains(text, "websocket") || !strings.Contains(text, "123ms") || !strings.Contains(text, "dial: a long error") {
			t.Errorf("%d columns: %s", width, text)
		}
	}
}

func TestShortDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		123456 * time.Nanosecond:  "123µs",
		1234567 * time.Nanosecond: "1.23ms",
		12345 * time.Microsecond:  "12.3ms",
		99960 * time.Microsecond:  "100ms",
		1234 * time.Millisecond:   "1.23s",
		45 * time.Nanosecond:      "45ns",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
