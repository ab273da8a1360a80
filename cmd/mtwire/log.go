package main

import (
	"bytes"
	"io"
	"log/slog"
	"time"

	"github.com/mtwire/mtwire/internal/logwriter"
	"github.com/spf13/cobra"
)

// logFlags are the flags about the log of mtwire proxy.
type logFlags struct{ json, verbose bool }

func (f *logFlags) define(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "log-json", false, "write the log as lines of JSON")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log every time what is otherwise logged once a minute")
}

// logPatience is how long the end of the process waits for the reader of its log.
const logPatience = time.Second

// openLog returns the log, on standard error. From then on nothing that cmd prints
// there waits for a reader. The caller calls close at the end.
func (f *logFlags) openLog(cmd *cobra.Command) (log *slog.Logger, close func()) {
	ignoreBrokenPipes()
	stderr := logwriter.New(cmd.ErrOrStderr(), f.dropped)
	cmd.SetErr(stderr)
	return f.logger(stderr), func() { stderr.Close(logPatience) }
}

func (f *logFlags) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if f.verbose {
		options.Level = slog.LevelDebug
	}
	if f.json {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// dropped returns the line that stands for lines which the log's reader did not take.
func (f *logFlags) dropped(lines int) []byte {
	var line bytes.Buffer
	f.logger(&line).Warn("lines of the log were dropped: its reader was too slow, or had an error", "lines", lines)
	return line.Bytes()
}
