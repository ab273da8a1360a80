package service

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// containerParents are the names of programs that end, and their container with them, when the
// process that they have started ends: those that are its first process, as with
// "docker run --init", and those that start containers. The kernel cuts names at 15 bytes.
var containerParents = []string{"tini", "tini-static", "docker-init", "podman-init", "catatonit", "dumb-init", "conmon", "containerd-shim"}

// endsContainer reports whether the container of this process ends with it. What has started
// the process tells, and not its parent by now: after an upgrade in a container, by a process
// that may end, that is the init.
var endsContainer = isContainers(os.Getpid(), os.Getppid(), nameOf(os.Getppid()))

// nameOf returns the name of a process, "" if it is not known.
func nameOf(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(name))
}

// isContainers reports whether a process is the one that a container is for. The number of its
// parent is 0 if that is outside of its namespace, as in a pod whose containers share one.
func isContainers(pid, parent int, name string) bool {
	return pid == 1 || parent == 0 || slices.Contains(containerParents, name)
}
