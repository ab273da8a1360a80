//go:build !linux

package main

import "os"

// upgradeSignals is empty: sessions cannot move.
var upgradeSignals []os.Signal
