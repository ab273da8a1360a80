package service

import "testing"

// A process with which its container would end is not upgraded, whatever has started it.
func TestProcessOfAContainer(t *testing.T) {
	for _, test := range []struct {
		pid, parent int
		name        string
		want        bool
	}{
		{1, 0, "", true},
		{7, 1, "docker-init", true},
		{2, 1, "catatonit", true},
		{9, 0, "", true},                    // beside others of its pod
		{500, 450, "containerd-shim", true}, // --pid=host
		{500, 1, "systemd", false},
		{500, 450, "bash", false},
		{500, 450, "", false},
	} {
		if got := isContainers(test.pid, test.parent, test.name); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
