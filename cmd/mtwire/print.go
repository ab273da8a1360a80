package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/spf13/cobra"
	"rsc.io/qr"
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
// The output to a terminal is the same as to a pipe, except for QR codes.

// printStatus prints a line about the progress of a command.
func printStatus(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
}

// printError prints the error that a command returned, and returns its exit code.
func printError(w io.Writer, err error) (code int) {
	code = 2
	var failed *exitError
	if errors.As(err, &failed) {
		code, err = failed.code, failed.err
	}
	if err != nil {
		fmt.Fprintf(w, "mtwire: %v\n", err)
	}
	return code
}

// exitError is the error of a command with an exit code of its own. err is printed
// unless it is nil.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d: %v", e.code, e.err) }

func (e *exitError) Unwrap() error { return e.err }

// hintListen adds the remedy to the error of listening on the address of a flag.
func hintListen(err error, flag string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: choose another address with %s", err, flag)
	}
	return err
}

// printJSON prints a command's result as one indented JSON value.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// qrCodes selects whether links are followed by QR codes.
type qrCodes bool

const (
	qrOnTerminal qrCodes = false // on a terminal, up to fewCodes links
	qrAlways     qrCodes = true
)

// fewCodes is the number of links up to which a terminal shows QR codes by default.
const fewCodes = 3

// printLinks prints each link on a line, and its QR code if codes selects it. If
// there are several links, each has its user's name in front.
func printLinks(w io.Writer, links []service.Link, codes qrCodes) error {
	for _, l := range links {
		if len(links) > 1 {
			fmt.Fprint(w, l.User, " ")
		}
		fmt.Fprintln(w, l.Link)
		if codes == qrAlways || isTerminal(w) && len(links) <= fewCodes {
			if err := printQR(w, l.Link.String()); err != nil {
				return err
			}
		}
	}
	return nil
}

// printQR writes a text as a QR code for a terminal. If the text is too long for a
// QR code, it writes nothing and returns an error.
//
// The text should be a tg://proxy link, not an https://t.me/proxy link. A phone's
// camera opens the former in the app. The latter may be opened in a browser, which
// requests it from t.me: on a network that needs a proxy this request hangs, and it
// exposes the secret to that network.
//
// Half-block characters show two modules each, one above the other, because a
// character is about twice as high as wide. Foreground and background are set, with
// the light margin of the standard, because some scanners do not read a light code
// on a dark background. The colours are from the part of the 256-colour palette
// that themes do not change. The characters draw the light modules, so that without
// colours the code is still right on a dark terminal.
func printQR(w io.Writer, text string) error {
	// The lowest level of error correction gives the smallest code, and a screen
	// has no damage to correct.
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return err
	}
	const (
		margin = 4 // modules, the quiet zone of the standard
		colour = "\x1b[38;5;231;48;5;16m"
		plain  = "\x1b[0m"
	)
	out := bufio.NewWriter(w)
	for y := -margin; y < code.Size+margin; y += 2 {
		out.WriteString(colour)
		for x := -margin; x < code.Size+margin; x++ {
			// The size is odd, so the lower half of the last line is outside.
			out.WriteRune(halfBlocks(!code.Black(x, y), !code.Black(x, y+1)))
		}
		out.WriteString(plain + "\n")
	}
	return out.Flush()
}

// halfBlocks returns the character whose upper and lower halves are drawn or not.
func halfBlocks(upper, lower bool) rune {
	switch {
	case upper && lower:
		return '█'
	case upper:
		return '▀'
	case lower:
		return '▄'
	}
	return ' '
}

// isTerminal reports whether w is a terminal: a file that is a character device.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
