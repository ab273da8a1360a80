// Package hangup has SIGHUP from the first moment of a server's process, which it would end
// otherwise: a program that asks for a reload does not know how far the process is. The package
// imports nothing that the initialization of others could delay.
package hangup

import (
	"os"
	"os/signal"
)

// held has a signal that came before Notify.
var held = make(chan os.Signal, 1)

// servers are the commands that call Notify.
var servers = map[string]bool{"proxy": true, "relay": true}

func init() {
	if len(os.Args) > 1 && servers[os.Args[1]] {
		notify(held)
	}
}

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
