package main

import (
	"os"
	"os/signal"

	"github.com/mtwire/mtwire/internal/service"
)

// notifyHangups returns the signals SIGHUP of the process, which then do not end it
// any more. After stop the channel is closed.
func notifyHangups() (hangups <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1) // one stands for those that come meanwhile
	if len(hangupSignals) > 0 {        // none would mean all signals
		signal.Notify(signals, hangupSignals...)
	}
	return signals, func() {
		signal.Stop(signals)
		close(signals)
	}
}

// reload opens the log file and reads the secrets again. If one of them fails, what was
// before stays in use.
func reload(s *service.Service, log *processLog) {
	log.reopen()
	reloaded, err := s.Reload()
	switch {
	case err != nil:
		log.Error("the secrets cannot be read again, those before stay in use", "cause", err)
	case !reloaded && log.file == nil:
		log.Info("SIGHUP: neither a file with secrets nor a log file is in use, so there is nothing to do")
	}
}

// eachHangup calls do for each signal, until hangups is closed.
func eachHangup(hangups <-chan os.Signal, do func()) {
	for range hangups {
		do()
	}
}
