//go:build !linux

package loadgen

func raisePriority() (name string, restore func()) { return normalPriority, func() {} }

// LowerPriority returns the name of the usual priority.
func LowerPriority() (name string) { return normalPriority }
