//go:build !linux

package faults_test

import (
	"errors"
	"testing"
)

// Some tests read the program's /proc directory or make network namespaces.
// Both are specific to Linux.
func TestLinuxOnlyFaultsAreListed(t *testing.T) {
	for _, variant := range []string{
		"networks that lose packets, and links that are down",
		"a flood of 5,000 connections on the program",
		"the program without descriptors",
		"SIGTERM, SIGKILL and restart under load",
		"reloads under load, and of a file that is being written",
		"counting descriptors and pipes",
		"the soak of hostile connections, from many loopback addresses",
	} {
		reportNotRun(t, variant, errors.ErrUnsupported)
	}
}
