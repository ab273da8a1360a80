package main

import (
	"bytes"
	"io"
	"log/slog"
	"time"

	"github.com/mtwire/mtwire/internal/logwriter"
	"github.com/mtwire/mtwire/internal/service"
	"github.com/spf13/cobra"
)

// logFlags are the flags about the log of mtwire proxy.
type logFlags struct {
	file          string
	level         service.LogLevel
	json, verbose bool
}

// define defines the flags, of which those that a configuration file has as well set c.
func (f *logFlags) define(cmd *cobra.Command, c *service.Config) {
	flags := cmd.Flags()
	flags.StringVar(&c.LogFile, "log-file", c.LogFile, "`FILE` that the log is appended to, and that SIGHUP reopens (default: standard error)")
	flags.TextVar(&c.LogLevel, "log-level", c.LogLevel, "least `LEVEL` of the log's lines: debug, info, warn or error")
	flags.BoolVar(&c.LogJSON, "log-json", c.LogJSON, "write the log as lines of JSON")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "the same as --log-level debug")
}

// logPatience is how long the end of the process waits for the reader of its log.
const logPatience = time.Second

// processLog is the log of a server.
type processLog struct {
	*slog.Logger
	level  *slog.LevelVar
	stderr *logwriter.Writer
	file   *logwriter.File // nil if the log is on standard error
}

// take takes the settings of a configuration.
func (f *logFlags) take(c *service.Config) {
	f.file, f.level, f.json = c.LogFile, c.LogLevel, c.LogJSON
}

// open returns the log, which the caller closes. From then on nothing that cmd prints
// on standard error waits for a reader.
func (f *logFlags) open(cmd *cobra.Command) (*processLog, error) {
	ignoreBrokenPipes()
	l := &processLog{level: new(slog.LevelVar), stderr: logwriter.New(cmd.ErrOrStderr(), f.dropped)}
	l.level.Set(slog.Level(f.level))
	if f.verbose {
		l.level.Set(slog.LevelDebug)
	}
	cmd.SetErr(l.stderr)
	if f.json {
		cmd.SetErr(newStatusLog(l.stderr))
	}
	if f.file == "" {
		l.Logger = f.logger(l.stderr, l.level)
		return l, nil
	}
	var err error
	if l.file, err = logwriter.Open(f.file, f.dropped); err != nil {
		return nil, &service.ConfigError{Setting: "log-file", Err: err}
	}
	l.Logger = f.logger(l.file, l.level)
	return l, nil
}

// reopen opens the file again, after another program has renamed it. Without a file
// it does nothing.
func (l *processLog) reopen() {
	if l.file == nil {
		return
	}
	if err := l.file.Reopen(); err != nil {
		l.Error("the log file cannot be opened again, the old one stays in use", "cause", err)
		return
	}
	l.Info("reopened the log file")
}

// close waits for the readers, but not for long.
func (l *processLog) close() {
	if l.file != nil {
		l.file.Close(logPatience)
	}
	l.stderr.Close(logPatience)
}

func (f *logFlags) logger(w io.Writer, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if f.json {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// dropped returns the line that stands for lines which the log's reader did not take.
// Its level is Error, so that it is there at every --log-level.
func (f *logFlags) dropped(lines int) []byte {
	var line bytes.Buffer
	f.logger(&line, slog.LevelError).Error("lines of the log were dropped: its reader was too slow, or had an error", "lines", lines)
	return line.Bytes()
}
