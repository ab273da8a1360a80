//go:build !unix

package bench

// raiseLimit returns the number of descriptors that a process can open.
func raiseLimit() int { return 8192 }
