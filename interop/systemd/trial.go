package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mtwire/mtwire/interop/live"
)

const (
	unit       = "mtwire.service"
	socketUnit = "mtwire.socket"
	installed  = "/usr/local/bin/mtwire"
	settings   = "/etc/mtwire/mtwire.toml"
	address    = "127.0.0.1:443"

	// configuration is what an operator has beside the secrets: the data centre is this
	// process's.
	configuration = "listen = [\":443\"]\ndrain = \"5s\"\ndc = [\"*=" + live.DataCenter + "\"]\n"

	// settleTime is how long something may take that systemd does at once.
	settleTime = 20 * time.Second
)

// trial is the machine with the service, and what is tried.
type trial struct {
	root, units, mtwire, other, before, log string

	machine *machine
	steps   live.Steps
}

// run runs all steps.
func (t *trial) run(ctx context.Context) {
	fmt.Fprintf(t.steps.Output, "        systemd %d\n", t.version(ctx))
	if !t.steps.Always(ctx, "the unit is installed", t.install) {
		return
	}
	for _, steps := range []func(context.Context){t.runStart, t.runUpgrades, t.runFailures, t.runSandbox, t.runSockets, t.runStop} {
		steps(ctx)
	}
}

// version returns systemd's.
func (t *trial) version(ctx context.Context) (version int) {
	text, _ := t.machine.run(ctx, "systemctl", "--version")
	fmt.Sscanf(text, "systemd %d", &version)
	return version
}

// install does what the unit's first line tells an operator to.
func (t *trial) install(ctx context.Context) error {
	text, err := os.ReadFile(filepath.Join(t.units, unit))
	if err != nil {
		return err
	}
	return errors.Join(
		t.machine.install(installed, t.mtwire),
		t.machine.write("/etc/systemd/system/"+unit, string(text), 0o644),
		t.machine.write("/etc/mtwire/secrets", live.Secrets, 0o600),
		t.machine.write(settings, configuration, 0o644),
		t.dropIn(ctx, "start", "ExecStart=\nExecStart="+installed+" proxy --config "+settings),
	)
}

// dropIn sets settings of the service. None removes them.
func (t *trial) dropIn(ctx context.Context, name, text string) error {
	return t.dropInFor(ctx, name, "[Service]\n"+text+"\n", text == "")
}

func (t *trial) dropInFor(ctx context.Context, name, text string, remove bool) error {
	path := "/etc/systemd/system/" + unit + ".d/" + name + ".conf"
	var err error
	if remove {
		err = os.Remove(t.machine.path(path))
	} else {
		err = t.machine.write(path, text, 0o644)
	}
	_, reload := t.machine.run(ctx, "systemctl", "daemon-reload")
	return errors.Join(err, reload)
}

// main returns the service's main process.
func (t *trial) main(ctx context.Context) (pid string, err error) {
	pid, err = t.machine.property(ctx, unit, "MainPID")
	if err == nil && pid == "0" {
		err = errors.New("the service has no process")
	}
	return pid, err
}

// runs returns an error unless the service is active, and its main process runs a program.
func (t *trial) runs(ctx context.Context, program string) error {
	return live.Eventually(ctx, settleTime, func() error {
		state, err := t.machine.property(ctx, unit, "ActiveState")
		if err != nil || state != "active" {
			return errors.Join(err, fmt.Errorf("the service is %s", state))
		}
		pid, err := t.main(ctx)
		if err != nil {
			return err
		}
		want, err := digest(program)
		if err != nil {
			return err
		}
		got, err := digest(t.machine.path("/proc/" + pid + "/exe"))
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("the service's process runs another program than %s", program)
		}
		return err
	})
}

func digest(program string) ([]byte, error) {
	text, err := os.ReadFile(program)
	sum := sha256.Sum256(text)
	return sum[:], err
}

// afresh has the service run a program, with no upgrade on trial.
func (t *trial) afresh(ctx context.Context, program string) error {
	t.machine.run(ctx, "systemctl", "stop", unit)
	for _, name := range []string{"mtwire.trial", "mtwire.previous"} {
		os.Remove(t.machine.path("/var/lib/private/mtwire/" + name))
	}
	t.machine.run(ctx, "systemctl", "reset-failed", unit)
	if err := t.machine.install(installed, program); err != nil {
		return err
	}
	if _, err := t.machine.run(ctx, "systemctl", "start", unit); err != nil {
		return err
	}
	return t.runs(ctx, program)
}

// processes returns the processes of the service.
func (t *trial) processes(ctx context.Context) []string {
	path, err := t.machine.property(ctx, unit, "ControlGroup")
	if err != nil || path == "" {
		return nil
	}
	out, _ := t.machine.run(ctx, "sh", "-c", "cat /sys/fs/cgroup/systemd"+path+"/cgroup.procs 2> /dev/null || cat /sys/fs/cgroup"+path+"/cgroup.procs 2> /dev/null")
	return strings.Fields(out)
}

// alone waits until the main process is the service's only one, and returns it.
func (t *trial) alone(ctx context.Context) (pid string, err error) {
	err = live.Eventually(ctx, settleTime, func() error {
		if pid, err = t.main(ctx); err != nil {
			return err
		}
		if all := t.processes(ctx); len(all) != 1 || all[0] != pid {
			return fmt.Errorf("the service has the processes %v, and its main one is %s", all, pid)
		}
		return nil
	})
	return pid, err
}

// kill sends a signal to a process of the machine.
func (t *trial) kill(ctx context.Context, signal, pid string) error {
	if _, err := strconv.Atoi(pid); err != nil {
		return err
	}
	_, err := t.machine.run(ctx, "kill", "-s", signal, pid)
	return err
}

// logged returns an error unless the service has logged a text since a cursor.
func (t *trial) logged(ctx context.Context, cursor, text string) error {
	return live.Eventually(ctx, settleTime, func() error {
		journal, err := t.machine.journal(ctx, unit, cursor)
		if err == nil && !strings.Contains(journal, text) {
			err = fmt.Errorf("the journal does not have %q:\n%s", text, journal)
		}
		return err
	})
}

// refuses returns an error if something listens at an address.
func refuses(address string) error {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return nil
	}
	conn.Close()
	return fmt.Errorf("%s accepts connections", address)
}
