package main

import (
	"log/slog"
	"os"
	"strings"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/spf13/cobra"
)

// reload opens the log file, and reads the configuration again. If one
// of them fails, what was before stays in use.
func (f *proxyFlags) reload(cmd *cobra.Command, s *service.Service, log *processLog) {
	log.reopen()
	if f.file.document != nil {
		f.reloadFile(cmd, s, log.Logger, nil)
		return
	}
	reloaded, err := s.Reload()
	switch {
	case err != nil:
		log.Error("the secrets cannot be read again, those before stay in use", "cause", config.Redact(err.Error()))
	case !reloaded && log.file == nil:
		log.Info("SIGHUP: neither a file with secrets nor a log file is in use, so there is nothing to do")
	}
}

// reloadFile reads the configuration file again, and logs what comes of it. It returns
// the error as well. If permitted is not nil and returns an error, that is all.
func (f *proxyFlags) reloadFile(cmd *cobra.Command, s *service.Service, log *slog.Logger, permitted func() error) error {
	f.file.reading.Lock()
	defer f.file.reading.Unlock()
	if permitted != nil {
		if err := permitted(); err != nil {
			return err
		}
	}
	restart, err := f.readAgain(cmd, s, log)
	s.CountReload(restart, err)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			log.Error("the configuration cannot be read again, the one before stays in use", "cause", config.Redact(strings.TrimSuffix(line, "\n")))
		}
		return err
	}
	if len(restart) > 0 {
		log.Warn("some settings that have changed need a restart", "keys", strings.Join(restart, ","))
	}
	return nil
}

// readAgain reads the configuration file again. Flags override it as before. It returns
// the keys of those that have changed and need a restart. Under f.file.reading: of two
// reloads, one reads the file after the other has applied what it read, so that the newest
// text is applied last.
func (f *proxyFlags) readAgain(cmd *cobra.Command, s *service.Service, log *slog.Logger) (restart []string, err error) {
	f.file.watched.Reading(f.file.path)
	fromFile, document, err := service.LoadFile(f.file.path)
	if err != nil {
		f.file.keepWatching()
		return nil, err
	}
	read := configFile{path: f.file.path, document: document, settings: fromFile}
	read.warn(log)
	next := overrideFile(cmd.Flags(), fromFile)
	next.Inherited, next.Position = f.config.Inherited, document.Position
	if f.config.Listen == nil && !document.Has("listen") { // as inherit does
		next.Listen = nil
	}
	f.file.readingFiles(&next)
	if verbose, _ := cmd.Flags().GetBool("verbose"); verbose { // it overrides the key, and is none
		next.LogLevel = f.config.LogLevel
	}
	if restart, err = s.Reconfigure(next); err == nil {
		f.file.watching = next.Watch
	}
	f.file.keepWatching()
	err = read.name(cmd, err)
	document.Release()
	return restart, err
}

// eachHangup calls do for each signal, until hangups is closed.
func eachHangup(hangups <-chan os.Signal, do func()) {
	for range hangups {
		do()
	}
}
