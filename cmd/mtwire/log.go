package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/logwriter"
	"github.com/spf13/cobra"
)

// logFlags are the flags about the log of mtwire proxy.
type logFlags struct {
	level         logLevel
	json, verbose bool
}

func (f *logFlags) define(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.TextVar(&f.level, "log-level", logLevel(slog.LevelInfo), "least `LEVEL` of the log's lines: debug, info, warn or error")
	flags.BoolVar(&f.json, "log-json", false, "write the log as lines of JSON")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "the same as --log-level debug")
}

// logLevel is a slog.Level by its name alone, in lower case.
type logLevel slog.Level

var logLevels = []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}

// UnmarshalText parses a name. After an error l is unchanged.
func (l *logLevel) UnmarshalText(text []byte) error {
	for _, level := range logLevels {
		if strings.EqualFold(level.String(), string(text)) {
			*l = logLevel(level)
			return nil
		}
	}
	return fmt.Errorf("unknown level %q: want debug, info, warn or error", text)
}

// MarshalText returns the name.
func (l logLevel) MarshalText() ([]byte, error) {
	return []byte(strings.ToLower(slog.Level(l).String())), nil
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
	options := &slog.HandlerOptions{Level: slog.Level(f.level)}
	if f.verbose {
		options.Level = slog.LevelDebug
	}
	if f.verbose {
		options.Level = slog.LevelDebug
	}
	if f.json {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// dropped returns the line that stands for lines which the log's reader did not take.
// Its level is Error, so that it is there at every --log-level.
func (f *logFlags) dropped(lines int) []byte {
	var line bytes.Buffer
	f.logger(&line).Error("lines of the log were dropped: its reader was too slow, or had an error", "lines", lines)
	return line.Bytes()
}
