package main

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
)

// programPath is the path by which the process was started: an upgrade starts the file that is
// there by then. Symbolic links are not followed before that.
var programPath = findProgram()

func findProgram() string {
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		path, _ = os.Executable()
	}
	return path
}

// notifyUpgrades returns the signals of the process that request an upgrade, which do not end
// it. After stop the channel is closed.
func notifyUpgrades() (requests <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1)
	if len(upgradeSignals) > 0 { // none would mean all signals
		// One that was sent before meant the process that has started this one.
		signal.Ignore(upgradeSignals...)
		signal.Notify(signals, upgradeSignals...)
	}
	return signals, func() {
		signal.Stop(signals)
		close(signals)
	}
}
