//go:build !windows

package route

var systemLocalErrors []error
