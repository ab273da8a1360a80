package main

import (
	"time"

	"github.com/mtwire/mtwire/internal/service/config"
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
	parsed, err := config.ParseDuration(text)
	if err != nil {
		return err
	}
	*d = durationValue(parsed)
	return nil
}

// String returns the duration, such as 2m0s.
func (d *durationValue) String() string { return time.Duration(*d).String() }

// Type is the name of the value in the help text.
func (d *durationValue) Type() string { return "duration" }
