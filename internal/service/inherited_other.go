//go:build !unix

package service

import "os"

// isListening is not called: systems without LISTEN_FDS pass no sockets.
func isListening(*os.File) bool { return false }
