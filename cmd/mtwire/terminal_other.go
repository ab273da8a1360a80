//go:build !windows

package main

import "os"

// enableEscapes does nothing: terminals interpret escape sequences.
func enableEscapes(*os.File) {}
