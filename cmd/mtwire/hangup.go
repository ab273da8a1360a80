package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyHangups returns the signals SIGHUP of the process, which then do not end it
// any more. After stop the channel is closed.
func notifyHangups() (hangups <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1) // one stands for those that come meanwhile
	signal.Notify(signals, syscall.SIGHUP)
	return signals, func() {
		signal.Stop(signals)
		close(signals)
	}
}

// eachHangup calls do for each signal, until hangups is closed.
func eachHangup(hangups <-chan os.Signal, do func()) {
	for range hangups {
		do()
	}
}
