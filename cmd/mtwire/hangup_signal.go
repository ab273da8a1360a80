//go:build !js && !wasip1

package main

import (
	"os"
	"syscall"
)

// hangupSignals are the signals of a hangup.
var hangupSignals = []os.Signal{syscall.SIGHUP}
