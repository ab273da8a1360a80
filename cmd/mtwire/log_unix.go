//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// ignoreBrokenPipes keeps the process alive when the reader of its log ends: by
// default, a write to standard error then ends a Go program.
func ignoreBrokenPipes() { signal.Ignore(syscall.SIGPIPE) }
