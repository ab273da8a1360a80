//go:build js || wasip1

package main

import "os"

// hangupSignals is empty: there is no such signal.
var hangupSignals []os.Signal
