package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
)

// portFlag is the flag --port: a port that is appended to the addresses of --listen.
type portFlag struct{ listen pflag.Value }

// Set appends an address.
func (p portFlag) Set(text string) error {
	if n, err := strconv.ParseUint(text, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q: want a number from 1 to 65535", text)
	}
	return p.listen.Set(":" + text)
}

// String returns "": the default is that of --listen.
func (portFlag) String() string { return "" }

// Type is the name of the value in the help text.
func (portFlag) Type() string { return "PORT" }

func (p portFlag) copyTo(other pflag.Value) {
	if listen, ok := p.listen.(settingFlag); ok {
		listen.copyTo(other.(portFlag).listen)
	}
}
