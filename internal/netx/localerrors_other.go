//go:build !windows

package netx

var systemLocalErrors []error
