package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/interop/live"
	"github.com/mtwire/mtwire/interop/process"
)

// machine is a container of systemd-nspawn, with the network of this process. What is
// written in it is gone afterwards.
type machine struct {
	nspawn  *exec.Cmd
	ended   chan struct{}
	first   int      // its first process
	cgroups []string // those that were there before
}

const (
	bootTime    = 60 * time.Second
	haltTime    = 20 * time.Second
	commandTime = 2 * time.Minute
)

// boot starts the machine, and waits until it has started.
func boot(ctx context.Context, root, log string) (*machine, error) {
	console, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	m := &machine{ended: make(chan struct{}), cgroups: payloads()}
	// It is known to no other program of this machine, whose first process may be anything.
	m.nspawn = exec.Command("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--machine=mtwire-interop",
		"--directory="+root, "--volatile=overlay", "--console=read-only", "--boot")
	m.nspawn.Stdout, m.nspawn.Stderr = console, console
	m.nspawn.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := m.nspawn.Start(); err != nil {
		return nil, err
	}
	go func() {
		m.nspawn.Wait()
		close(m.ended)
	}()
	err = live.Eventually(ctx, bootTime, func() error {
		if m.first = child(m.nspawn.Process.Pid, "systemd"); m.first == 0 {
			return errors.New("the first process does not start")
		}
		state, _ := m.run(ctx, "systemctl", "is-system-running") // fails unless all units run
		if state := strings.TrimSpace(state); state != "running" && state != "degraded" {
			return fmt.Errorf("the system has not started: %s", state)
		}
		return nil
	})
	if err != nil {
		m.halt()
		return nil, fmt.Errorf("%w: see %s", err, log)
	}
	return m, nil
}

// child returns a child of a process by its name, 0 if there is none.
func child(parent int, name string) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	for _, field := range strings.Fields(string(text)) {
		comm, _ := os.ReadFile("/proc/" + field + "/comm")
		if strings.TrimSpace(string(comm)) == name {
			pid, _ := strconv.Atoi(field)
			return pid
		}
	}
	return 0
}

// halt ends the machine, and removes its cgroups.
func (m *machine) halt() {
	select {
	case <-m.ended:
	default:
		if m.first != 0 {
			syscall.Kill(m.first, syscall.Signal(34+3)) // SIGRTMIN+3: systemd halts
		}
		select {
		case <-m.ended:
		case <-time.After(haltTime):
			syscall.Kill(-m.nspawn.Process.Pid, syscall.SIGKILL)
			<-m.ended
		}
	}
	for _, path := range payloads() {
		if !strings.Contains(strings.Join(m.cgroups, "\n")+"\n", path+"\n") {
			process.RemoveCgroups(path)
		}
	}
}

// payloads returns the cgroups that systemd-nspawn makes with --keep-unit.
func payloads() (all []string) {
	own, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(own)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		for _, mount := range []string{"", "unified", strings.TrimPrefix(fields[1], "name=")} {
			for _, name := range []string{"payload", "supervisor"} {
				path := filepath.Join("/sys/fs/cgroup", mount, fields[2], name)
				if info, err := os.Stat(path); err == nil && info.IsDir() {
					all = append(all, path)
				}
			}
		}
	}
	return all
}

// run runs a command in the machine, as root, and returns what it prints.
func (m *machine) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(m.first), "--all", "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return out.String(), err
}

// path returns where this process has a file of the machine.
func (m *machine) path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(m.first), "root", name)
}

// write writes a file in the machine, of root.
func (m *machine) write(name, text string, mode os.FileMode) error {
	path := m.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// install puts a program at a path of the machine, as mv does: another file.
func (m *machine) install(name, program string) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if err := m.write(name+".new", string(text), 0o755); err != nil {
		return err
	}
	return os.Rename(m.path(name+".new"), m.path(name))
}

// property returns a property of a unit.
func (m *machine) property(ctx context.Context, unit, name string) (string, error) {
	out, err := m.run(ctx, "systemctl", "show", "--property="+name, "--value", unit)
	return strings.TrimSpace(out), err
}

// cursor returns the end of the journal.
func (m *machine) cursor(ctx context.Context) (string, error) {
	if _, err := m.run(ctx, "journalctl", "--sync"); err != nil {
		return "", err
	}
	out, err := m.run(ctx, "journalctl", "--lines=0", "--show-cursor", "--quiet")
	_, cursor, _ := strings.Cut(strings.TrimSpace(out), "-- cursor: ")
	return cursor, err
}

// journal returns what a unit has in the journal behind a cursor, without the ends of
// sessions.
func (m *machine) journal(ctx context.Context, unit, cursor string) (string, error) {
	if _, err := m.run(ctx, "journalctl", "--sync"); err != nil {
		return "", err
	}
	text, err := m.run(ctx, "journalctl", "--unit="+unit, "--output=short-precise", "--no-hostname", "--after-cursor="+cursor)
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "msg=closed") {
			kept.WriteString(line)
		}
	}
	return kept.String(), err
}

// save appends the journal to a file.
func (m *machine) save(name string) error {
	out, err := m.run(context.Background(), "journalctl", "--output=short-precise", "--no-hostname")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(out)
	return errors.Join(err, f.Close())
}
