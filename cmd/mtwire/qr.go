package main

import (
	"bufio"
	"io"
	"os"

	"rsc.io/qr"
)

// printQR writes a text as a QR code for a terminal, to be scanned off the
// screen.
//
// The text should be a link as tg://proxy, not https://t.me/proxy. A phone's
// camera hands the former to the app at once. The latter may go to a browser
// first, which asks t.me for it: where a proxy is needed that hangs, and it
// shows the secret to whoever is on the way.
//
// A character shows two modules, one above the other, in the upper and the
// lower half, because it is about twice as high as wide. The colours are set,
// dark on light with a light margin, whatever the terminal's own are: not every
// scanner reads a code the other way round. They are out of the part of the
// palette that themes do not change. Light modules are what is drawn, so that
// where colours get lost, a dark terminal still shows it right.
func printQR(w io.Writer, text string) error {
	// The lowest level of redundancy gives the smallest code, and a screen has
	// no stains.
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return err
	}
	const (
		margin = 4 // modules, by the standard
		colour = "\x1b[38;5;231;48;5;16m"
		plain  = "\x1b[0m"
	)
	out := bufio.NewWriter(w)
	for y := -margin; y < code.Size+margin; y += 2 {
		out.WriteString(colour)
		for x := -margin; x < code.Size+margin; x++ {
			// The size is odd, so the last line's lower half is outside.
			out.WriteRune(halfBlocks(!code.Black(x, y), !code.Black(x, y+1)))
		}
		out.WriteString(plain + "\n")
	}
	return out.Flush()
}

// halfBlocks is the character whose upper and lower halves are drawn or not.
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

// isTerminal says whether w shows what is written, as far as a file can tell.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
