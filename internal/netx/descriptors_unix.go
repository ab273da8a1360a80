//go:build unix

package netx

import "syscall"

// MaxDescriptors returns how many descriptors the process may have: the soft limit of
// RLIMIT_NOFILE, which package syscall raises to the hard limit, or to one below it,
// when the program starts.
func MaxDescriptors() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return defaultDescriptors
	}
	return int(min(uint64(limit.Cur), manyDescriptors))
}
