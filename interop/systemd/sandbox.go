package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mtwire/mtwire/interop/live"
)

func (t *trial) runSandbox(ctx context.Context) {
	t.steps.Run(ctx, "sandbox: a log file in LogsDirectory= goes on over an upgrade, and is opened again on SIGHUP", t.logFile)
	t.steps.Run(ctx, "sandbox: what the unit restricts is in force, and systemd rates its exposure low", t.restricted)
}

func (t *trial) logFile(ctx context.Context) (err error) {
	const file = "/var/log/mtwire/log"
	begin := errors.Join(
		t.machine.write(settings, configuration+"log_file = \""+file+"\"\n", 0o644),
		t.dropIn(ctx, "logs", "LogsDirectory=mtwire"), t.afresh(ctx, t.mtwire))
	if begin != nil {
		return begin
	}
	defer func() {
		err = errors.Join(err, t.machine.write(settings, configuration, 0o644), t.dropIn(ctx, "logs", ""), t.afresh(ctx, t.mtwire))
	}()
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	if _, err := t.upgraded(ctx, sessions, t.other, t.reload(ctx)); err != nil {
		return err
	}
	path := t.machine.path("/var/log/private/mtwire/log")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, want := range []string{"another process has taken over", "took over"} {
		if !strings.Contains(string(text), want) {
			return fmt.Errorf("the log does not have %q: %s", want, text)
		}
	}
	pid, err := t.main(ctx)
	if err == nil {
		err = errors.Join(os.Rename(path, path+".1"), t.kill(ctx, "HUP", pid))
	}
	if err != nil {
		return err
	}
	return live.Eventually(ctx, settleTime, func() error { _, err := os.Stat(path); return err })
}

func (t *trial) restricted(ctx context.Context) error {
	pid, err := t.main(ctx)
	if err != nil {
		return err
	}
	status, err := os.ReadFile(t.machine.path("/proc/" + pid + "/status"))
	if err != nil {
		return err
	}
	for _, want := range []string{"CapBnd:\t0000000000000400", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(string(status), want) {
			err = errors.Join(err, fmt.Errorf("the process has no %q", want))
		}
	}
	_, exposed := t.machine.run(ctx, "systemd-analyze", "security", "--no-pager", "--threshold=30", unit)
	return errors.Join(err, exposed)
}
