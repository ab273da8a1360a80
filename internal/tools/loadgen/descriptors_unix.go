//go:build unix

package loadgen

import (
	"math"

	"golang.org/x/sys/unix"
)

// descriptorLimit returns the number of file descriptors that this process may
// have. The runtime has raised the soft limit to the hard one.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt
	}
	return int(min(uint64(limit.Cur), math.MaxInt))
}
