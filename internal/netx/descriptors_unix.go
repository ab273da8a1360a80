//go:build unix

package netx

import "syscall"

// MaxDescriptors returns how many descriptors the process may have: RLIMIT_NOFILE,
// which package os raises to the hard limit when the program starts.
func MaxDescriptors() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return defaultDescriptors
	}
	return int(min(uint64(limit.Cur), manyDescriptors))
}
