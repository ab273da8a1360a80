package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mtwire/mtwire/interop/live"
)

func (t *trial) runSockets(ctx context.Context) {
	const beside = "127.0.0.1:8443"
	t.steps.Run(ctx, "sockets: the supplied socket unit, with another address and a Unix socket", func(ctx context.Context) error {
		text, err := os.ReadFile(filepath.Join(t.units, socketUnit))
		if err != nil {
			return err
		}
		t.machine.run(ctx, "systemctl", "stop", unit)
		err = errors.Join(
			t.machine.write("/etc/systemd/system/"+socketUnit, string(text), 0o644),
			t.machine.write("/etc/systemd/system/"+socketUnit+".d/more.conf", "[Socket]\nListenStream="+beside+"\nListenStream=/run/mtwire.sock\n", 0o644),
		)
		if err == nil {
			_, err = t.machine.run(ctx, "systemctl", "daemon-reload")
		}
		if err == nil {
			_, err = t.machine.run(ctx, "systemctl", "start", socketUnit)
		}
		if err == nil { // the first client starts the service
			err = visited(ctx, address, beside)
		}
		if err == nil {
			err = t.runs(ctx, t.mtwire)
		}
		return err
	})
	t.steps.Run(ctx, "sockets: three upgrades and two restarts, and no client is refused", func(ctx context.Context) error {
		for i := range 5 {
			do := t.reload(ctx)
			if i > 2 {
				do = func() error { _, err := t.machine.run(ctx, "systemctl", "restart", unit); return err }
			}
			journal, err := t.startedAgain(ctx, t.mtwire, func(string) error { return do() }, beside)
			if err != nil {
				return fmt.Errorf("%d: %w\n%s", i+1, err, journal)
			}
		}
		return t.machineSawNoFault(ctx)
	})
	t.steps.Run(ctx, "sockets: a stopped service is started by the next client", func(ctx context.Context) error {
		if _, err := t.machine.run(ctx, "systemctl", "stop", unit); err != nil {
			return err
		}
		err := errors.Join(visited(ctx, address, beside), t.runs(ctx, t.mtwire))
		_, stop := t.machine.run(ctx, "systemctl", "stop", socketUnit, unit)
		return errors.Join(err, stop, os.Remove(t.machine.path("/etc/systemd/system/"+socketUnit)))
	})
}

// visited returns an error unless a client is served at each address.
func visited(ctx context.Context, addresses ...string) error {
	for _, address := range addresses {
		visitors := live.Visit(ctx, address)
		served := live.Eventually(ctx, settleTime, func() error {
			if visitors.Served() == 0 {
				return fmt.Errorf("no client is served at %s", address)
			}
			return nil
		})
		_, err := visitors.Stop(false)
		if err := errors.Join(served, err); err != nil {
			return err
		}
	}
	return nil
}
