package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"rsc.io/qr"
)

// qrFlag is the flag --qr: where QR codes of links go. Its zero value is auto.
type qrFlag struct {
	when qrWhen
	file string // with the extension .png or .svg, if when is qrFile
}

type qrWhen int

const (
	qrAuto   qrWhen = iota // to a terminal, if they fit
	qrAlways               // to standard output, whatever it is
	qrNever
	qrFile
)

var qrNames = []string{qrAuto: "auto", qrAlways: "always", qrNever: "never"}

// define defines the flag.
func (q *qrFlag) define(flags *pflag.FlagSet) {
	flags.Var(q, "qr", "QR codes of the links, `WHEN|FILE`: auto, on a terminal if they fit; always, never, or the name of a .png or .svg file to write")
}

// Set parses a value.
func (q *qrFlag) Set(text string) error {
	for when, name := range qrNames {
		if text == name {
			*q = qrFlag{when: qrWhen(when)}
			return nil
		}
	}
	switch strings.ToLower(filepath.Ext(text)) {
	case ".png", ".svg":
		*q = qrFlag{qrFile, text}
		return nil
	}
	switch text {
	case "true":
		*q = qrFlag{when: qrAlways}
	case "false":
		*q = qrFlag{when: qrNever}
	default:
		return fmt.Errorf("%q: want auto, always, never, or the name of a .png or .svg file", text)
	}
	return nil
}

// String returns the text that Set parses.
func (q *qrFlag) String() string {
	if q.when == qrFile {
		return q.file
	}
	return qrNames[q.when]
}

// Type is the name of the value in the help text.
func (q *qrFlag) Type() string { return "WHEN|FILE" }

// check returns what is wrong with the directory of the file to write. How the files are
// called depends on the links.
func (q *qrFlag) check() (wrong []error) {
	if q.when != qrFile {
		return nil
	}
	if err := service.MayMakeFile(q.file); err != nil {
		wrong = append(wrong, fmt.Errorf("--qr: %w", err))
	}
	return wrong
}

// printLinks prints each link on a line of standard output, below its QR code if q
// and the terminal have room for it. If there are several links, each has its user's
// name in front. The links are in hexadecimal, which every client supports.
func printLinks(cmd *cobra.Command, links []service.Link, q qrFlag) error {
	// What was printed on standard error before stays above the links.
	if status, ok := cmd.ErrOrStderr().(interface{ Flush(time.Duration) bool }); ok {
		status.Flush(logPatience)
	}
	out := &endingWriter{cmd.Context(), cmd.OutOrStdout()}
	return drawLinks(out, cmd.ErrOrStderr(), links, q, terminalOf(cmd.OutOrStdout()))
}

// drawLinks is printLinks to out, which is a terminal unless t is nil. It writes
// hints to status.
func drawLinks(out, status io.Writer, links []service.Link, q qrFlag, t *terminal) error {
	codes, err := encodeLinks(links, q)
	if err != nil {
		return err
	}
	lines := make([]string, len(links))
	for i, l := range links {
		lines[i] = l.String() + "\n"
		if len(links) > 1 {
			lines[i] = l.User + " " + lines[i]
		}
	}
	d, hint := q.drawing(codes, lines, t)
	if hint != "" {
		fmt.Fprintln(status, hint)
	}
	for i, line := range lines {
		if codes[i] != nil && d != drawNothing {
			line = drawQR(codes[i], d) + line
		}
		if _, err := io.WriteString(out, line); err != nil {
			return err
		}
	}
	if q.when == qrFile {
		return writeImages(status, links, codes, q.file)
	}
	return nil
}

// encodeLinks returns the QR code of each link. Nil stands for a link that is too
// long for one, which is an error only if a code was asked for.
func encodeLinks(links []service.Link, q qrFlag) ([]*qr.Code, error) {
	codes := make([]*qr.Code, len(links))
	for i, l := range links {
		code, err := encodeQR(l)
		if err != nil && (q.when == qrAlways || q.when == qrFile) {
			return nil, fmt.Errorf("no QR code for the link: %w", err)
		}
		codes[i] = code
	}
	return codes, nil
}

// drawing returns how to draw codes, and a hint for the user of a terminal if they
// cannot be drawn. lines are the links below them. A screen also needs a line for the
// cursor.
func (q qrFlag) drawing(codes []*qr.Code, lines []string, t *terminal) (d drawing, hint string) {
	switch {
	case q.when == qrNever || q.when == qrFile || q.when == qrAuto && t == nil:
		return drawNothing, ""
	case t == nil:
		t = &terminal{colours: hasColours(os.Getenv), blocks: hasBlocks(os.Getenv)}
	}
	switch {
	case t.colours && t.blocks:
		d = drawBlocks
	case t.colours:
		d = drawSpaces
	case q.when == qrAuto:
		return drawNothing, "no QR code, because the terminal has no colours here: " + qrRemedy(lines)
	default:
		d = drawPlain
	}
	if q.when == qrAlways {
		return d, ""
	}
	width, height := 0, 1
	for i, code := range codes {
		if code == nil {
			return drawNothing, ""
		}
		w, h := drawnSize(code, d)
		width = max(width, w)
		height += h + (utf8.RuneCountInString(lines[i])-1+t.width-1)/t.width
	}
	if width > t.width || height > t.height {
		return drawNothing, fmt.Sprintf("no QR code, because it takes %d columns and %d lines, and the terminal has %d and %d: %s",
			width, height, t.width, t.height, qrRemedy(lines))
	}
	return d, ""
}

// qrRemedy is what to do about a code that cannot be drawn.
func qrRemedy(lines []string) string {
	if len(lines) > 1 {
		return "--qr FILE.png writes each to a file"
	}
	return "--qr FILE.png writes it to a file"
}

// writeImages writes the codes to a file, or if there are several, to one for each
// user, with the name in front of the extension. Only the owner may read them.
func writeImages(status io.Writer, links []service.Link, codes []*qr.Code, file string) error {
	extension := filepath.Ext(file)
	written := make(map[string]int) // by the user's name
	for i, code := range codes {
		path, user := file, links[i].User
		if written[user]++; written[user] > 1 {
			user = fmt.Sprintf("%s-%d", user, written[user])
		}
		if len(codes) > 1 {
			path = fmt.Sprintf("%s-%s%s", strings.TrimSuffix(file, extension), user, extension)
		}
		if err := os.WriteFile(path, imageOf(code, strings.ToLower(extension)), 0o600); err != nil {
			return fmt.Errorf("--qr: %w", err)
		}
		fmt.Fprintf(status, "wrote a QR code of the link to %s\n", path)
	}
	return nil
}
