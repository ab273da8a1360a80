package main

import (
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// A number is one of seconds; units are those of Go.
func TestNumbersAreDurationsInSeconds(t *testing.T) {
	d := time.Minute
	define := func(cmd *cobra.Command) { durationVar(cmd.Flags(), &d, "drain", "") }
	for text, want := range map[string]time.Duration{
		"30": 30 * time.Second, "0": 0, "1.5": 1500 * time.Millisecond, "-1": -time.Second, "30s": 30 * time.Second, "5 m": 5 * time.Minute, "1h30m": 90 * time.Minute, "500ms": 500 * time.Millisecond,
	} {
		if err := parseFlags(define, "--drain="+text); err != nil || d != want {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "soon", "1d", "5 minutes", "1e99", "inf", "NaN"} {
		d = time.Minute
		if err := parseFlags(define, "--drain="+text); err == nil || d != time.Minute {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
}
