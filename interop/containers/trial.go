package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/interop/live"
)

const (
	address    = "127.0.0.1:8443"
	dataCenter = live.DataCenter
	secrets    = live.Secrets
	uid        = 65532 // of the example
	first      = "mtwire-a"
	second     = "mtwire-b"
	settleTime = 20 * time.Second
	// restartTime is longer than podman takes to start a container again.
	restartTime = time.Second
)

// trial is the engine with the services, and what is tried.
type trial struct {
	example, image, dir, compose string

	cgroups []string // those that were there before
	steps   live.Steps
	running string // the service
}

func (t *trial) run(ctx context.Context) {
	version, _ := t.podman(ctx, "--version")
	runtime, _ := t.podman(ctx, "info", "--format={{.Host.OCIRuntime.Name}}, cgroups {{.Host.CgroupsVersion}}")
	fmt.Fprintf(t.steps.Output, "        %s, %s\n", version, runtime)
	if !t.steps.Always(ctx, "the image is built with the supplied Dockerfile", t.build) ||
		!t.steps.Always(ctx, "start: the service serves clients of all modes, as an ordinary user with a root that is read-only", t.start) {
		return
	}
	t.steps.Run(ctx, "takeover: containers take over from each other four times, and no client notices", t.takeOver)
	t.steps.Run(ctx, "upgrade: in a container it is refused, also under an init, and no session ends", t.refused)
	t.steps.Run(ctx, "takeover: another user gets nothing, and ends with an error", t.otherUser)
	t.steps.Run(ctx, "takeover: the container before is killed in the middle, and the new one serves", t.killed)
	t.steps.Run(ctx, "crash: the container is started again, and serves", t.crash)
	t.steps.Run(ctx, "stop: SIGTERM ends it within the time that Docker waits, while sessions move bytes", t.stop)
}

func (t *trial) build(ctx context.Context) error {
	_, err := t.podman(ctx, "build", "--quiet", "--tag=mtwire:latest", "--file="+filepath.Join(t.example, "Dockerfile"), t.image)
	return err
}

// serves waits until the service's process can be taken over from, which is after it serves.
func (t *trial) serves(ctx context.Context, service string) error {
	return live.Eventually(ctx, settleTime, func() error {
		if status, _, err := t.state(ctx, service); err != nil || status != "running" {
			return errors.Join(err, fmt.Errorf("%s is %s: %s", service, status, t.logs(ctx, service)))
		}
		volume, err := t.podman(ctx, "volume", "inspect", "--format={{.Mountpoint}}", "mtwire_state")
		if err == nil {
			_, err = os.Stat(filepath.Join(volume, "takeover.sock"))
		}
		return err
	})
}

func (t *trial) start(ctx context.Context) error {
	if err := t.up(ctx, first); err != nil {
		return err
	}
	t.running = first
	if err := t.serves(ctx, first); err != nil {
		return err
	}
	pid, err := t.process(ctx, first)
	if err != nil {
		return err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	for _, want := range []string{fmt.Sprintf("Uid:\t%d\t", uid), "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), want) {
			return fmt.Errorf("the process has no %q:\n%s", want, status)
		}
	}
	if log := t.logs(ctx, first); strings.Contains(log, "level=ERROR") || strings.Contains(log, "others may read") {
		return errors.New(log)
	}
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	return sessions.Check(ctx)
}

// process returns the number that the first process of a container has here.
func (t *trial) process(ctx context.Context, service string) (int, error) {
	out, err := t.podman(ctx, "inspect", "--format={{.State.Pid}}", container(service))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(out)
	if err == nil && pid == 0 {
		err = errors.New("the container has no process")
	}
	return pid, err
}

// other returns the service that does not run.
func (t *trial) other() string {
	if t.running == first {
		return second
	}
	return first
}

// ended waits until a container has ended, with an exit code.
func (t *trial) ended(ctx context.Context, service, want string) error {
	return live.Eventually(ctx, settleTime, func() error {
		status, code, err := t.state(ctx, service)
		if err == nil && (status != "exited" || code != want) {
			err = fmt.Errorf("%s is %s with code %s, want %s: %s", service, status, code, want, t.logs(ctx, service))
		}
		return err
	})
}

func (t *trial) takeOver(ctx context.Context) error {
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	for i := range 4 {
		old, next := t.running, t.other()
		visitors := live.Visit(ctx, address)
		err := t.up(ctx, next)
		if err == nil {
			err = t.ended(ctx, old, "0")
		}
		_, refused := visitors.Stop(false)
		if err := errors.Join(err, refused, sessions.Check(ctx)); err != nil {
			return fmt.Errorf("takeover %d: %w\n%s", i+1, err, t.logs(ctx, next))
		}
		t.running = next
		if err := t.serves(ctx, next); err != nil {
			return err
		}
	}
	return nil
}

// refused asks for an upgrade in a container, once without and once with an init.
func (t *trial) refused(ctx context.Context) error {
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	_, failed := t.podman(ctx, "exec", container(t.running), "/mtwire", "upgrade", "--state=/state")
	if failed == nil || !strings.Contains(failed.Error(), "the container of this process would end with it") {
		err = fmt.Errorf("the upgrade is not refused: %w", failed)
	}
	const name = "mtwire_init"
	_, started := t.podman(ctx, "run", "--detach", "--init", "--network=host", "--name="+name, "--tmpfs=/tmp", "mtwire:latest", "proxy", "--state=/tmp", "--listen=:8444", "--secret=000102030405060708090a0b0c0d0e0f")
	err = errors.Join(err, started)
	if started == nil {
		err = errors.Join(err, live.Eventually(ctx, settleTime, func() error {
			_, failed := t.podman(ctx, "exec", name, "/mtwire", "upgrade", "--state=/tmp")
			if failed == nil || !strings.Contains(failed.Error(), "the container of this process would end with it") {
				return fmt.Errorf("the upgrade under an init is not refused: %w", failed)
			}
			return nil
		}))
	}
	_, removed := t.podman(ctx, "rm", "--force", "--time=0", name)
	return errors.Join(err, removed, sessions.Check(ctx), t.serves(ctx, t.running))
}

func (t *trial) otherUser(ctx context.Context) error {
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	visitors := live.Visit(ctx, address)
	_, failed := t.podman(ctx, "run", "--rm", "--network=host", "--user=1000:1000", "--volume=mtwire_state:/state", "mtwire:latest",
		"proxy", "--listen=:8443", "--state=/tmp", "--takeover=/state/takeover.sock", "--secret=000102030405060708090a0b0c0d0e0f")
	_, refused := visitors.Stop(false)
	err = errors.Join(refused, sessions.Check(ctx), t.serves(ctx, t.running))
	if failed == nil {
		err = errors.Join(err, errors.New("it ends without an error"))
	} else if !strings.Contains(failed.Error(), "permission denied") {
		err = errors.Join(err, fmt.Errorf("the cause is another one: %w", failed))
	}
	return err
}

// killed kills the container before at several moments after the new one has asked it to hand
// over, which takes some 50 milliseconds.
func (t *trial) killed(ctx context.Context) error {
	cut := 0 // takeovers that were not complete
	for i := range 8 {
		old, next := t.running, t.other()
		sessions, err := live.Join(ctx, address)
		if err != nil {
			return fmt.Errorf("%d: %w\n%s", i+1, err, t.logs(ctx, old))
		}
		pid, err := t.process(ctx, old)
		if err != nil {
			return err
		}
		log, err := t.podman(ctx, "inspect", "--format={{.HostConfig.LogConfig.Path}}", container(old))
		if err != nil {
			return err
		}
		before := len(t.text(log)) // it may have been started more than once
		began := make(chan error, 1)
		go func() { began <- t.up(ctx, next) }()
		for err == nil && !strings.Contains(t.text(log)[before:], "asks to take over") {
			err = ctx.Err()
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(i*i) * time.Millisecond)
		if killed := syscall.Kill(pid, syscall.SIGKILL); killed != nil && killed != syscall.ESRCH { // it may have ended
			return killed
		}
		if !strings.Contains(t.text(log)[before:], "another process has taken over") {
			cut++
		}
		err = errors.Join(err, <-began)
		sessions.Close()
		if err = errors.Join(err, t.settles(ctx)); err != nil {
			return fmt.Errorf("%d: %w\n%s\n%s", i+1, err, t.logs(ctx, old), t.logs(ctx, next))
		}
	}
	if cut == 0 {
		return errors.New("no takeover was interrupted")
	}
	return nil
}

// settles waits until one of the services runs and the other does not, for restartTime, and
// serves clients. A container that was killed is started again, and takes over in its turn.
func (t *trial) settles(ctx context.Context) error {
	since, last := time.Now(), ""
	return live.Eventually(ctx, settleTime, func() error {
		running := ""
		for _, service := range []string{first, second} {
			if status, _, _ := t.state(ctx, service); status == "running" {
				running += service
			}
		}
		if running != last {
			since, last = time.Now(), running
		}
		if running != first && running != second || time.Since(since) < restartTime {
			return fmt.Errorf("what runs is %q", running)
		}
		t.running = running
		return errors.Join(t.serves(ctx, t.running), visited(ctx))
	})
}

// text returns a file's text, "" without the file.
func (t *trial) text(name string) string {
	text, _ := os.ReadFile(name)
	return string(text)
}

// visited returns an error unless clients are served.
func visited(ctx context.Context) error {
	visitors := live.Visit(ctx, address)
	err := live.Eventually(ctx, settleTime, func() error {
		if visitors.Served() == 0 {
			return errors.New("no client is served")
		}
		return nil
	})
	_, failed := visitors.Stop(false)
	return errors.Join(err, failed)
}

func (t *trial) crash(ctx context.Context) error {
	pid, err := t.process(ctx, t.running)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	err = live.Eventually(ctx, settleTime, func() error {
		now, err := t.process(ctx, t.running)
		if err == nil && now == pid {
			err = errors.New("the process is the same")
		}
		return err
	})
	return errors.Join(err, t.settles(ctx))
}

func (t *trial) stop(ctx context.Context) error {
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	begun := time.Now()
	_, err = t.podman(ctx, "stop", "--time=10", container(t.running))
	if took := time.Since(begun); took > 9*time.Second {
		err = errors.Join(err, fmt.Errorf("it took %v", took))
	}
	return errors.Join(err, t.ended(ctx, t.running, "0"))
}
