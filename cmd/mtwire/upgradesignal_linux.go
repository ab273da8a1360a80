package main

import (
	"os"
	"syscall"
)

// upgradeSignals are the signals that request an upgrade.
var upgradeSignals = []os.Signal{syscall.SIGUSR2}
