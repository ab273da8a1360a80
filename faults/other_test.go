//go:build !linux

package faults_test

import (
	"errors"
	"testing"
)

// The program is watched through /proc, and networks made of namespaces: both
// are Linux's.
func TestWhatTakesLinuxIsNamed(t *testing.T) {
	for _, what := range []string{
		"networks that lose packets, and links that are down",
		"a flood of 5,000 connections on the program",
		"the program without descriptors",
		"SIGTERM, SIGKILL and restart under load",
		"counting descriptors and pipes",
	} {
		absent(t, what, errors.ErrUnsupported)
	}
}
