//go:build unix

package bench

import "syscall"

// raiseLimit raises the soft limit on descriptors to the hard limit and returns it.
func raiseLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 256
	}
	raised := limit
	raised.Cur = raised.Max
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
		limit = raised
	}
	return int(min(uint64(limit.Cur), 1<<20))
}
