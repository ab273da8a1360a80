//go:build !linux

package loadgen

import "context"

// KeepAwake returns an error.
func KeepAwake(context.Context, []int, func()) error { return errNotLinux }
