//go:build !linux

package bench

// residentMemory returns 0: it is not known.
func residentMemory() float64 { return 0 }
