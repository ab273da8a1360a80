package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// durationValue is the value of a flag that is a duration. A number without a unit is
// one of seconds.
type durationValue time.Duration

// durationVar defines a flag for a duration, whose default is *d.
func durationVar(flags *pflag.FlagSet, d *time.Duration, name, usage string) {
	flags.Var((*durationValue)(d), name, usage)
}

// Set parses a duration.
func (d *durationValue) Set(text string) error {
	text = strings.ReplaceAll(text, " ", "")
	parsed, err := time.ParseDuration(text)
	if _, notNumber := strconv.ParseFloat(text, 64); err != nil && notNumber == nil {
		parsed, err = time.ParseDuration(text + "s")
	}
	if err != nil {
		return fmt.Errorf("%q is no duration: want a number of seconds, or 500ms, 30s, 5m, 48h", text)
	}
	*d = durationValue(parsed)
	return nil
}

// String returns the duration, such as 2m0s.
func (d *durationValue) String() string { return time.Duration(*d).String() }

// Type is the name of the value in the help text.
func (d *durationValue) Type() string { return "duration" }
