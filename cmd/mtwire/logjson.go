package main

import (
	"log/slog"
	"net"
	"slices"

	"github.com/spf13/cobra"
)

// With --log-json every line on standard error is a line of the log, so that a
// program can read all of them: what is a plain line otherwise, and errors.

// printListening prints an address that is listened on.
func (f *logFlags) printListening(cmd *cobra.Command, log *slog.Logger, address net.Addr) {
	if f.json {
		log.Info("listening", "address", address.String())
	} else {
		printStatus(cmd, "listening on %v", address)
	}
}

// printNote prints a sentence for the operator about what may not work.
func (f *logFlags) printNote(cmd *cobra.Command, log *slog.Logger, note string) {
	if f.json {
		log.Warn(note)
	} else {
		printStatus(cmd, "%s", note)
	}
}

// logError logs the error that a command returned, and returns its exit code.
func logError(log *slog.Logger, err error) (code int) {
	code, err = exitOf(err)
	if err != nil {
		log.Error(err.Error())
	}
	return code
}

// logsJSON reports whether args request a log in JSON for cmd. The flags may be
// parsed up to an error only.
func logsJSON(cmd *cobra.Command, args []string) bool {
	flag := cmd.Flags().Lookup("log-json")
	return flag != nil && (flag.Value.String() == "true" || slices.Contains(args, "--log-json"))
}
