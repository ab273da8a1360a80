package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mtwire/mtwire/interop/live"
)

func (t *trial) runFailures(ctx context.Context) {
	t.steps.Run(ctx, "crash: the process is started again, and no client is refused", t.crash)
	t.steps.Run(ctx, "crash: within a minute after an upgrade the kept program is started, until the next upgrade", t.fallBack)
	t.steps.Run(ctx, "watchdog: a process that hangs is started again, and no client is refused", t.hang)
	t.steps.Run(ctx, "watchdog: five upgrades notify it in time", t.watchdogUpgrades)
	t.steps.Run(ctx, "restart: no client is refused", t.restart)
}

// startedAgain has do end the main process while clients come, waits until another one
// serves, and returns the journal.
func (t *trial) startedAgain(ctx context.Context, program string, do func(pid string) error, addresses ...string) (journal string, err error) {
	before, err := t.alone(ctx)
	if err != nil {
		return "", err
	}
	cursor, err := t.machine.cursor(ctx)
	if err != nil {
		return "", err
	}
	visitors := live.Visit(ctx, append(addresses, address)...)
	err = do(before)
	if err == nil {
		err = live.Eventually(ctx, settleTime, func() error {
			now, err := t.main(ctx)
			if err == nil && now == before {
				err = errors.New("the main process is the same")
			}
			return err
		})
	}
	if err == nil {
		err = t.runs(ctx, program)
	}
	served := live.Visit(ctx, address)
	err = errors.Join(err, live.Eventually(ctx, settleTime, func() error {
		if served.Served() == 0 {
			return errors.New("the new process serves no client")
		}
		return nil
	}))
	_, refused := visitors.Stop(true)
	_, after := served.Stop(false)
	journal, failed := t.machine.journal(ctx, unit, cursor)
	return journal, errors.Join(err, refused, after, failed)
}

func (t *trial) crash(ctx context.Context) error {
	if err := t.afresh(ctx, t.mtwire); err != nil {
		return err
	}
	journal, err := t.startedAgain(ctx, t.mtwire, func(pid string) error { return t.kill(ctx, "KILL", pid) })
	if err != nil {
		return fmt.Errorf("%w\n%s", err, journal)
	}
	return nil
}

func (t *trial) fallBack(ctx context.Context) error {
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	_, err = t.upgraded(ctx, sessions, t.other, t.reload(ctx))
	sessions.Close()
	if err != nil {
		return err
	}
	for range 2 { // the second crash is that of the kept one, which stays
		journal, err := t.startedAgain(ctx, t.mtwire, func(pid string) error { return t.kill(ctx, "SEGV", pid) })
		if err == nil && !strings.Contains(journal, "the new program has crashed within a minute after its upgrade") {
			err = errors.New("the journal does not tell of it")
		}
		if err != nil {
			return fmt.Errorf("%w\n%s", err, journal)
		}
	}
	if sessions, err = live.Join(ctx, address); err != nil {
		return err
	}
	defer sessions.Close()
	if journal, err := t.upgraded(ctx, sessions, t.other, t.reload(ctx)); err != nil {
		return fmt.Errorf("the next upgrade: %w\n%s", err, journal)
	}
	return nil
}

func (t *trial) hang(ctx context.Context) error {
	if err := t.dropIn(ctx, "watchdog", "WatchdogSec=3s"); err != nil {
		return err
	}
	if err := t.afresh(ctx, t.mtwire); err != nil {
		return err
	}
	journal, err := t.startedAgain(ctx, t.mtwire, func(pid string) error { return t.kill(ctx, "STOP", pid) })
	if err == nil && !strings.Contains(journal, "Watchdog timeout") {
		err = errors.New("the journal does not tell of the watchdog")
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, journal)
	}
	return nil
}

// watchdogUpgrades follows hang.
func (t *trial) watchdogUpgrades(ctx context.Context) error {
	if err := errors.Join(t.dropIn(ctx, "watchdog", "WatchdogSec=2s"), t.afresh(ctx, t.mtwire)); err != nil {
		return err
	}
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	for range 5 {
		if journal, err := t.upgraded(ctx, sessions, t.mtwire, t.reload(ctx)); err != nil {
			return fmt.Errorf("%w\n%s", err, journal)
		}
	}
	// Longer than the watchdog waits, after the last upgrade.
	err = errors.Join(pause(ctx, 5), sessions.Check(ctx), t.machineSawNoFault(ctx))
	return errors.Join(err, t.dropIn(ctx, "watchdog", ""), t.afresh(ctx, t.mtwire))
}

func (t *trial) restart(ctx context.Context) error {
	for range 3 {
		journal, err := t.startedAgain(ctx, t.mtwire, func(string) error {
			_, err := t.machine.run(ctx, "systemctl", "restart", unit)
			return err
		})
		if err != nil {
			return fmt.Errorf("%w\n%s", err, journal)
		}
	}
	return t.machineSawNoFault(ctx)
}
