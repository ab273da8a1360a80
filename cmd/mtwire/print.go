package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/spf13/cobra"
)

// Terminal output: the rules for all subcommands.
//
// Standard output has the result of a command and nothing else, so that it can be
// piped: links, tables, events, reports; JSON if a flag asks for it. Standard error
// has the rest: the addresses listened on, progress, the log, errors.
//
// An error is one line, "mtwire: problem", or "mtwire: problem: remedy" if the
// remedy is known. It never has a secret. The exit code is 2, or 1 if the command
// was carried out and its result is a failure, such as a proxy that does not answer.
//
// With --log-json each line on standard error is a JSON object, an error as well.
//
// The output to a terminal is the same as to a pipe, except for QR codes: see
// terminal.go, qrcode.go and printlinks.go.

// printStatus prints a line about the progress of a command.
func printStatus(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
}

// printError prints the error that a command returned, and returns its exit code.
func printError(w io.Writer, err error) (code int) {
	code, err = exitOf(err)
	if err != nil {
		for line := range strings.Lines(config.Redact(err.Error())) {
			fmt.Fprintf(w, "mtwire: %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	return code
}

// exitOf returns the exit code for the error of a command, and the error to be
// printed, or nil if there is none.
func exitOf(err error) (code int, printed error) {
	var failed *exitError
	if errors.As(err, &failed) {
		return failed.code, failed.err
	}
	return 2, err
}

// exitError is the error of a command with an exit code of its own. err is printed
// unless it is nil.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d: %v", e.code, e.err) }

func (e *exitError) Unwrap() error { return e.err }

// hintListen adds the flag and the remedy to the error of listening on a flag's address.
func hintListen(err error, flag string) error {
	remedy := service.ListenRemedy(err)
	var op *net.OpError
	switch {
	case netx.IsErrno(err, netx.EADDRINUSE):
		remedy = "choose another address with " + flag // these commands do not share theirs
	case remedy == "", errors.As(err, &op) && op.Net == "unix": // which has no port
		return fmt.Errorf("%s: %w", flag, err)
	}
	return fmt.Errorf("%s: %w: %s", flag, netx.Readable(err), remedy)
}

// printJSON prints a command's result as one indented JSON value.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
