//go:build !unix

package logwriter

import "os"

// There are no FIFOs among the files, so these are not called.

func openFIFO(path string) (*os.File, error) { return os.OpenFile(path, os.O_WRONLY, 0) }

func openReadFIFO(path string) (*os.File, error) { return openFIFO(path) }
