package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mtwire/mtwire/interop/live"
)

func (t *trial) runStop(ctx context.Context) {
	t.steps.Run(ctx, "stop: with sessions that move bytes it ends after the drain, without an error", t.stopBusy)
	t.steps.Run(ctx, "stop: while the process before an upgrade drains, both end without an error", t.stopBoth)
}

// stopped stops the service, and returns an error unless it has ended as it is to.
func (t *trial) stopped(ctx context.Context, atMost time.Duration) error {
	cursor, err := t.machine.cursor(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	_, err = t.machine.run(ctx, "systemctl", "stop", unit)
	took := time.Since(begun)
	for name, want := range map[string]string{"Result": "success", "ActiveState": "inactive", "NFileDescriptorStore": "0", "ExecMainStatus": "0"} {
		if got, failed := t.machine.property(ctx, unit, name); failed != nil || got != want {
			err = errors.Join(err, failed, fmt.Errorf("%s=%s, want %s", name, got, want))
		}
	}
	if took > atMost {
		err = errors.Join(err, fmt.Errorf("it took %v", took))
	}
	if all := t.processes(ctx); len(all) > 0 {
		err = errors.Join(err, fmt.Errorf("processes are left: %v", all))
	}
	err = errors.Join(err, refuses(address))
	if err != nil {
		journal, _ := t.machine.journal(ctx, unit, cursor)
		err = fmt.Errorf("%w\n%s", err, journal)
	}
	return err
}

func (t *trial) stopBusy(ctx context.Context) error {
	if err := t.afresh(ctx, t.mtwire); err != nil {
		return err
	}
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	return t.stopped(ctx, 8*time.Second) // the drain takes five
}

// stopBoth has a client that is in the middle of its handshake keep the process before.
func (t *trial) stopBoth(ctx context.Context) error {
	if err := t.afresh(ctx, t.mtwire); err != nil {
		return err
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.Write([]byte{0xef})
	if _, err := t.machine.run(ctx, "sh", "-c", "systemctl kill --kill-who=main --signal=USR2 "+unit); err != nil {
		return err
	}
	err = live.Eventually(ctx, settleTime, func() error {
		if n := len(t.processes(ctx)); n < 2 {
			return fmt.Errorf("%d processes", n)
		}
		return nil
	})
	return errors.Join(err, t.stopped(ctx, 20*time.Second))
}

// pause waits for some seconds of the machine, which no test can shorten.
func pause(ctx context.Context, seconds int) error {
	select {
	case <-time.After(time.Duration(seconds) * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
