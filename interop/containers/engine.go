package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/mtwire/mtwire/interop/process"
	"golang.org/x/sys/unix"
)

// commandTime bounds a command of the engine.
const commandTime = time.Minute

// settings are those of podman for this machine: a limit that is raised takes a capability
// that a container's host may lack.
const settings = `[containers]
default_ulimits = ["nofile=%d:%d", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
`

// prepare makes the directory of the compose file, in which only the data centre, the drain
// and the secrets are others than in the example, and a command podman that keeps all that it
// has in one directory.
func (t *trial) prepare() error {
	// crun takes no controllers of two versions at a time.
	if err := unix.Unmount("/sys/fs/cgroup/unified", 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	podman, err := exec.LookPath("podman")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(t.example, "compose.yaml"))
	if err != nil {
		return err
	}
	const drain = "    - --drain=30s\n"
	if !strings.Contains(string(text), drain) {
		return errors.New("compose.yaml has another drain")
	}
	wrapper := fmt.Sprintf("#!/bin/sh\nexec %s --root %[2]s/storage --runroot /run/podman --tmpdir /run/podman.tmp --storage-driver vfs \"$@\"\n", podman, t.dir)
	err = errors.Join(
		os.MkdirAll(filepath.Join(t.dir, "bin"), 0o755),
		os.MkdirAll(filepath.Join(t.dir, "mtwire"), 0o755),
		os.WriteFile(filepath.Join(t.dir, "bin/podman"), []byte(wrapper), 0o755),
		os.WriteFile(filepath.Join(t.dir, "containers.conf"), fmt.Appendf(nil, settings, limit.Max, limit.Max), 0o644),
		os.WriteFile(filepath.Join(t.dir, "mtwire/compose.yaml"), []byte(strings.Replace(string(text), drain, "    - --drain=5s\n    - --dc=*="+dataCenter+"\n", 1)), 0o644),
		os.WriteFile(filepath.Join(t.dir, "mtwire/secrets"), []byte(secrets), 0o400),
		os.Chown(filepath.Join(t.dir, "mtwire/secrets"), uid, uid),
		os.Setenv("PATH", filepath.Join(t.dir, "bin")+":"+os.Getenv("PATH")),
		os.Setenv("CONTAINERS_CONF", filepath.Join(t.dir, "containers.conf")),
	)
	t.cgroups = engineCgroups()
	return err
}

// clean removes containers, volumes and images, and the cgroups of the engine.
func (t *trial) clean() error {
	ctx := context.Background()
	t.podman(ctx, "rm", "--all", "--force", "--time=0")
	_, err := t.podman(ctx, "system", "reset", "--force")
	for _, path := range engineCgroups() {
		if !strings.Contains(strings.Join(t.cgroups, "\n")+"\n", path+"\n") {
			process.RemoveCgroups(path)
		}
	}
	return errors.Join(err, os.RemoveAll(t.dir))
}

// engineCgroups returns the cgroups that podman makes.
func engineCgroups() []string {
	nested, _ := filepath.Glob("/sys/fs/cgroup/*/libpod_parent")
	unified, _ := filepath.Glob("/sys/fs/cgroup/libpod_parent")
	return append(nested, unified...)
}

func (t *trial) podman(ctx context.Context, args ...string) (string, error) {
	return t.command(ctx, "podman", args...)
}

// up starts a service, as the example's comment has it.
func (t *trial) up(ctx context.Context, service string) error {
	_, err := t.command(ctx, t.compose, "--in-pod=false", "--profile=upgrade", "up", "--detach", service)
	return err
}

func (t *trial) command(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = filepath.Join(t.dir, "mtwire")
	cmd.WaitDelay = time.Second
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) { // conmon keeps the output open
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(messages.String()))
	}
	return strings.TrimSpace(out.String()), err
}

// state returns fields of a container's state.
func (t *trial) state(ctx context.Context, service string) (status, code string, err error) {
	out, err := t.podman(ctx, "inspect", "--format={{.State.Status}} {{.State.ExitCode}}", container(service))
	status, code, _ = strings.Cut(out, " ")
	return status, code, err
}

// container returns the container of a service.
func container(service string) string { return "mtwire_" + service + "_1" }

// logs returns what a container has logged, without the ends of sessions.
func (t *trial) logs(ctx context.Context, service string) string {
	cmd := exec.CommandContext(ctx, "podman", "logs", container(service))
	out, _ := cmd.CombinedOutput()
	var kept strings.Builder
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "msg=closed") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
