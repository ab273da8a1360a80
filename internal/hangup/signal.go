//go:build !js && !wasip1

package hangup

import (
	"os"
	"syscall"
)

// hangups are the signals of a hangup.
var hangups = []os.Signal{syscall.SIGHUP}
