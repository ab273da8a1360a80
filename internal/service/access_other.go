//go:build !unix

package service

// maxSocketPath limits the path of a Unix socket, in bytes.
const maxSocketPath = 107

// mayWrite returns nil: what a process may do is known when it does it.
func mayWrite(string) error { return nil }

// isDisk returns false: the system does not tell.
func isDisk(error) bool { return false }
