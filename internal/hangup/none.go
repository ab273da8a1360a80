//go:build js || wasip1

package hangup

import "os"

// hangups is empty: there is no such signal.
var hangups []os.Signal
