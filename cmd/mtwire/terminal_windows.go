package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// enableEscapes has a console interpret escape sequences, which it does not do by
// itself.
//
// Specification: https://learn.microsoft.com/en-us/windows/console/setconsolemode
func enableEscapes(f *os.File) {
	var mode uint32
	if handle := windows.Handle(f.Fd()); windows.GetConsoleMode(handle, &mode) == nil {
		windows.SetConsoleMode(handle, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
	}
}
