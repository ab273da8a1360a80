// Package drain has the time after which a proxy that ends closes an idle session. Package proxy
// takes it from here, so that tests of the whole program can have sessions stay on a slow machine.
package drain

import "time"

// IdleTime is how long an established session must have moved no byte, or a connection have sent
// none, to be closed by a proxy that ends: no byte is on its way in it. It is a variable for tests,
// which set it before any proxy is made.
var IdleTime = time.Second
