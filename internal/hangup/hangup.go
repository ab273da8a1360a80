// Package hangup holds SIGHUP from the first moment of a process. A server's it would end
// otherwise: a program that asks for a reload does not know how far the process is. Which command
// the process runs is known later, and then one of Notify and Release is called. The package
// imports nothing that the initialization of others could delay.
package hangup

import (
	"os"
	"os/signal"
)

// held has a signal that came before Notify or Release.
var held = make(chan os.Signal, 1)

func init() { notify(held) }

func notify(signals chan<- os.Signal) {
	if len(hangups) > 0 { // none would mean all signals
		signal.Notify(signals, hangups...)
	}
}

// Notify returns the signals SIGHUP of the process, which then do not end it any more, with
// one that came before. After stop the channel is closed.
func Notify() (received <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1) // one stands for those that come meanwhile
	notify(signals)
	signal.Stop(held)
	select {
	case early := <-held:
		select {
		case signals <- early:
		default:
		}
	default:
	}
	return signals, func() {
		signal.Stop(signals)
		close(signals)
	}
}

// Release has SIGHUP end the process again, as one that came before does now, unless the process was
// started with the signal ignored.
func Release() {
	signal.Stop(held)
	select {
	case early := <-held:
		if own, err := os.FindProcess(os.Getpid()); err == nil {
			own.Signal(early)
		}
	default:
	}
}
