package main

import (
	"log/slog"
	"net"
	"slices"
	"strings"

	"github.com/mtwire/mtwire/internal/logwriter"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/spf13/cobra"
)

// With --log-json every line on standard error is a line of a log, so that a program
// can read all of them: what is a plain line otherwise, and errors.

// statusLog takes the place of standard error: it writes plain lines as lines of a log
// in JSON, at every --log-level, because they are there without --log-json as well.
type statusLog struct {
	*slog.Logger
	*logwriter.Writer // its Flush is that of standard error
}

func newStatusLog(stderr *logwriter.Writer) *statusLog {
	return &statusLog{slog.New(slog.NewJSONHandler(stderr, nil)), stderr}
}

// Write logs each line of text.
func (l *statusLog) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			l.Info(line)
		}
	}
	return len(text), nil
}

// printListening prints an address that is listened on.
func printListening(cmd *cobra.Command, address net.Addr) {
	if status, ok := cmd.ErrOrStderr().(*statusLog); ok {
		status.Info("listening", "address", address.String())
	} else {
		printStatus(cmd, "listening on %v", address)
	}
}

// printNote prints a sentence for the operator about what may not work.
func printNote(cmd *cobra.Command, note string) {
	if status, ok := cmd.ErrOrStderr().(*statusLog); ok {
		status.Warn(note)
	} else {
		printStatus(cmd, "%s", note)
	}
}

// logError logs the error that a command returned, and returns its exit code.
func logError(log *slog.Logger, err error) (code int) {
	code, err = exitOf(err)
	if err != nil {
		log.Error(config.Redact(err.Error()))
	}
	return code
}

// logsJSON reports whether args request a log in JSON for cmd. The flags may be
// parsed up to an error only.
func logsJSON(cmd *cobra.Command, args []string) bool {
	flag := cmd.Flags().Lookup("log-json")
	return flag != nil && (flag.Value.String() == "true" || slices.Contains(args, "--log-json"))
}
