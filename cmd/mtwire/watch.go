package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/spf13/cobra"
)

// watch has the files of c watched, which are about to be read, and the configuration file
// itself, which was noted before it was read. Without the key watch there are none.
func (f *configFile) watch(c *service.Config) {
	f.watching = c.Watch && f.path != ""
	f.readingFiles(c)
	f.keepWatching()
}

// readingFiles notes the files of c, which are about to be read, and forgets those of
// before.
func (f *configFile) readingFiles(c *service.Config) {
	files := c.Files()
	f.watched.Reading(files...)
	f.watched.Keep(append(files, f.path)...)
}

// keepWatching has the files watched that were noted, unless the configuration in force
// has turned that off.
func (f *configFile) keepWatching() {
	if !f.watching {
		f.watched.Keep()
	}
}

// watchFiles reads the configuration file again when it, or a file that it names, has
// changed. The caller calls stop, which waits for a reload, but not for long: a file may be a
// FIFO that nothing writes into, or on a file server that is gone.
func (f *proxyFlags) watchFiles(cmd *cobra.Command, s *service.Service, log *slog.Logger) (stop func()) {
	if f.file.document == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.file.watched.Run(ctx, func(path string) {
			log.Info("a file of the configuration has changed", "file", path)
			f.reloadFile(cmd, s, log, nil)
		})
	}()
	return func() {
		cancel()
		select {
		case <-done:
		case <-time.After(reloadPatience):
		}
	}
}

// reloadPatience is how long the end of the process waits for a reload.
const reloadPatience = time.Second
