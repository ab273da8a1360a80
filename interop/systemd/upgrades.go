package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mtwire/mtwire/interop/live"
)

func (t *trial) runUpgrades(ctx context.Context) {
	t.steps.Run(ctx, "reload: five upgrades keep all sessions and refuse no client", t.reloadFive)
	t.steps.Run(ctx, "reload: settings of the changed configuration are applied", t.reloadSettings)
	t.steps.Run(ctx, "reload: Type=notify-reload takes the message with its time", t.notifyReload)
	t.steps.Run(ctx, "reload: a configuration that is not valid changes nothing, and has its cause in systemctl status", t.brokenReload)
	t.steps.Run(ctx, "reload: systemctl kill -s USR2 upgrades, with the processes of the upgrade itself in the way", t.killUSR2)
	t.steps.Run(ctx, "reload: to the oldest program that has upgrades, and back", t.downgrade)
}

// upgraded has do upgrade the service to a program, with sessions that stay, and clients that
// come meanwhile. It returns the journal.
func (t *trial) upgraded(ctx context.Context, sessions *live.Sessions, program string, do func() error) (journal string, err error) {
	before, err := t.alone(ctx)
	if err != nil {
		return "", err
	}
	cursor, err := t.machine.cursor(ctx)
	if err != nil {
		return "", err
	}
	visitors := live.Visit(ctx, address)
	err = errors.Join(t.machine.install(installed, program), do())
	if err == nil {
		err = live.Eventually(ctx, settleTime, func() error {
			if now, err := t.main(ctx); err != nil || now == before {
				return errors.Join(err, errors.New("the main process is the same"))
			}
			return nil
		})
	}
	if err == nil {
		err = t.runs(ctx, program)
	}
	_, refused := visitors.Stop(false)
	err = errors.Join(err, refused, sessions.Check(ctx))
	if err == nil {
		_, err = t.alone(ctx)
	}
	journal, failed := t.machine.journal(ctx, unit, cursor)
	return journal, errors.Join(err, failed)
}

func (t *trial) reload(ctx context.Context) func() error {
	return func() error {
		_, err := t.machine.run(ctx, "systemctl", "reload", unit)
		return err
	}
}

func (t *trial) reloadFive(ctx context.Context) error {
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	for i := range 5 {
		program := t.other
		if i%2 == 1 {
			program = t.mtwire
		}
		journal, err := t.upgraded(ctx, sessions, program, t.reload(ctx))
		if err != nil {
			return fmt.Errorf("upgrade %d: %w\n%s", i+1, err, journal)
		}
		for _, unwanted := range []string{"level=ERROR", "cannot be notified", "reception only permitted"} {
			if strings.Contains(journal, unwanted) {
				return fmt.Errorf("upgrade %d: the journal has %q:\n%s", i+1, unwanted, journal)
			}
		}
	}
	return t.machineSawNoFault(ctx)
}

// machineSawNoFault returns an error if systemd has noticed a fault of the service.
func (t *trial) machineSawNoFault(ctx context.Context) error {
	for name, want := range map[string]string{"Result": "success", "NRestarts": "0", "ActiveState": "active", "ReloadResult": "success"} {
		if got, err := t.machine.property(ctx, unit, name); err != nil || got != want {
			return errors.Join(err, fmt.Errorf("%s=%s, want %s", name, got, want))
		}
	}
	return nil
}

func (t *trial) reloadSettings(ctx context.Context) error {
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	const more = "127.0.0.1:8443"
	text := strings.Replace(configuration, `":443"`, `":443", "`+more+`"`, 1)
	err = t.machine.write(settings, text+"watch = false\n", 0o644)
	if err == nil {
		_, err = t.upgraded(ctx, sessions, t.mtwire, t.reload(ctx))
	}
	if err == nil {
		visitors := live.Visit(ctx, more)
		err = live.Eventually(ctx, settleTime, func() error {
			stored, err := t.machine.property(ctx, unit, "NFileDescriptorStore")
			if err == nil && stored != "2" {
				err = fmt.Errorf("systemd has %s listening sockets, want 2", stored)
			}
			return err
		})
		_, refused := visitors.Stop(false)
		err = errors.Join(err, refused)
	}
	err = errors.Join(err, t.machine.write(settings, configuration, 0o644))
	if err == nil {
		_, err = t.upgraded(ctx, sessions, t.mtwire, t.reload(ctx))
	}
	if err == nil {
		err = live.Eventually(ctx, settleTime, func() error { return refuses(more) })
	}
	return err
}

func (t *trial) notifyReload(ctx context.Context) error {
	if version := t.version(ctx); version < 253 {
		return notHere("systemd %d does not have it", version)
	}
	if err := t.dropIn(ctx, "notifyreload", "Type=notify-reload\nReloadSignal=SIGUSR2\nExecReload="); err != nil {
		return err
	}
	err := t.afresh(ctx, t.mtwire)
	if err == nil {
		var sessions *live.Sessions
		if sessions, err = live.Join(ctx, address); err == nil {
			defer sessions.Close()
			_, err = t.upgraded(ctx, sessions, t.other, t.reload(ctx))
		}
	}
	if err == nil {
		err = t.machineSawNoFault(ctx)
	}
	return errors.Join(err, t.dropIn(ctx, "notifyreload", ""), t.afresh(ctx, t.mtwire))
}

func (t *trial) brokenReload(ctx context.Context) error {
	before, err := t.alone(ctx)
	if err != nil {
		return err
	}
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	if err := t.machine.write(settings, configuration+"watch = false\ndrane = \"5s\"\n", 0o644); err != nil {
		return err
	}
	_, failed := t.machine.run(ctx, "systemctl", "reload", unit)
	code, _ := t.machine.property(ctx, unit, "ExecReload")
	told := t.tells(ctx, "drane")
	text, _ := t.machine.property(ctx, unit, "StatusText")
	err = errors.Join(told, t.machine.write(settings, configuration, 0o644))
	switch {
	case failed == nil:
		err = errors.Join(err, errors.New("the reload does not fail"))
	case !strings.Contains(code, "status=1"):
		err = errors.Join(err, fmt.Errorf("the exit code is not 1: %s", code))
	case !strings.Contains(text, "drane"):
		err = errors.Join(err, fmt.Errorf("the status text does not have the cause: %q", text))
	}
	after, alone := t.alone(ctx)
	if after != before {
		err = errors.Join(err, errors.New("the process is another one"))
	}
	return errors.Join(err, alone, sessions.Check(ctx))
}

// killUSR2 sends the signal to all processes of the service, as systemctl does it.
func (t *trial) killUSR2(ctx context.Context) error {
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	for i := range 8 {
		program := t.other
		if i%2 == 1 {
			program = t.mtwire
		}
		journal, err := t.upgraded(ctx, sessions, program, func() error {
			_, err := t.machine.run(ctx, "systemctl", "kill", "--signal=USR2", unit)
			return err
		})
		if err != nil || strings.Contains(journal, "level=ERROR") {
			return fmt.Errorf("upgrade %d: %w\n%s", i+1, errors.Join(err, errors.New("an upgrade has failed")), journal)
		}
	}
	return nil
}

func (t *trial) downgrade(ctx context.Context) error {
	if t.before == "" {
		return notHere("there is no older program: see --before")
	}
	if err := t.afresh(ctx, t.mtwire); err != nil {
		return err
	}
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	do := func() error { // the older program has no mtwire upgrade, which is that of the new file
		pid, err := t.main(ctx)
		return errors.Join(err, t.kill(ctx, "USR2", pid))
	}
	for _, program := range []string{t.before, t.mtwire} {
		if journal, err := t.upgraded(ctx, sessions, program, do); err != nil {
			return fmt.Errorf("%w\n%s", err, journal)
		}
	}
	return t.machineSawNoFault(ctx)
}
