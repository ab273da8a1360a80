//go:build !linux

package loadgen

import "context"

func groupWarning(int) string { return "" }

// KeepAwake returns an error.
func KeepAwake(context.Context, []int, func()) error { return errNotLinux }
