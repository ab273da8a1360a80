package bench

import (
	"fmt"
	"os"
)

// residentMemory returns this process's resident memory in bytes.
func residentMemory() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int
	fmt.Sscan(string(b), &size, &resident)
	return float64(resident * os.Getpagesize())
}
