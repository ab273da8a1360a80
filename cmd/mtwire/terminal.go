package main

import (
	"cmp"
	"io"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// terminal is what a terminal can show.
type terminal struct {
	width, height int // in characters
	colours       bool
	blocks        bool // the half-block characters of Unicode
}

// Sizes of a terminal that does not tell its own.
const (
	defaultWidth  = 80
	defaultHeight = 24
)

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalOf returns what the terminal w can show, or nil if w is none.
func terminalOf(w io.Writer) *terminal {
	if !isTerminal(w) {
		return nil
	}
	f := w.(*os.File)
	enableEscapes(f)
	t := &terminal{colours: hasColours(os.Getenv), blocks: hasBlocks(os.Getenv)}
	if os.Getenv("TERM") == "" && runtime.GOOS != "windows" {
		t.colours = false
	}
	t.width, t.height, _ = term.GetSize(int(f.Fd()))
	if t.width <= 0 || t.height <= 0 {
		t.width, t.height = numberOr(os.Getenv("COLUMNS"), defaultWidth), numberOr(os.Getenv("LINES"), defaultHeight)
	}
	return t
}

// numberOr returns the number that text is, or otherwise n.
func numberOr(text string, n int) int {
	if parsed, err := strconv.Atoi(text); err == nil && parsed > 0 {
		return parsed
	}
	return n
}

// hasColours reports whether the environment allows escape sequences for colours.
//
// Specification: https://no-color.org
func hasColours(env func(string) string) bool {
	return env("NO_COLOR") == "" && env("TERM") != "dumb"
}

// charset matches the character set of a locale, such as de_DE.ISO-8859-1@euro.
var charset = regexp.MustCompile(`^[^.@]*\.([^@]*)`)

// hasBlocks reports whether the environment's locale has the characters of Unicode.
// A locale without a character set has an older one; the locales C and POSIX, and
// none, say nothing of the terminal, which then is likely to be one of today's.
//
// Specification: https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap08.html#tag_08_02
func hasBlocks(env func(string) string) bool {
	locale := cmp.Or(env("LC_ALL"), env("LC_CTYPE"), env("LANG"))
	if locale == "" || locale == "C" || locale == "POSIX" {
		return true
	}
	m := charset.FindStringSubmatch(locale)
	return m != nil && strings.EqualFold(strings.ReplaceAll(m[1], "-", ""), "utf8")
}
