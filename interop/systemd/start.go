package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/mtwire/mtwire/interop/live"
)

func (t *trial) runStart(ctx context.Context) {
	t.steps.Run(ctx, "start: clients of all modes are served on port 443", t.start)
	t.steps.Run(ctx, "start: systemctl status tells what the service does", t.status)
	t.steps.Run(ctx, "start: the admin socket, the state and the secrets are where they belong", t.places)
	t.steps.Run(ctx, "start: a configuration that is not valid has its cause in the journal", t.brokenStart)
}

func (t *trial) start(ctx context.Context) error {
	if err := t.afresh(ctx, t.mtwire); err != nil {
		return err
	}
	sessions, err := live.Join(ctx, address)
	if err != nil {
		return err
	}
	defer sessions.Close()
	return sessions.Check(ctx)
}

func (t *trial) status(ctx context.Context) error {
	text, err := t.machine.property(ctx, unit, "StatusText")
	if err == nil && !strings.Contains(text, "serving") {
		err = fmt.Errorf("the status is %q", text)
	}
	return err
}

func (t *trial) places(ctx context.Context) error {
	pid, err := t.main(ctx)
	if err != nil {
		return err
	}
	info, err := os.ReadFile(t.machine.path("/proc/" + pid + "/status"))
	if err != nil {
		return err
	}
	if strings.Contains(string(info), "Uid:\t0") {
		return errors.New("the process is root's")
	}
	for _, name := range []string{"/run/mtwire/admin.sock", "/var/lib/private/mtwire/store", "/var/lib/private/mtwire/replay"} {
		if _, err := os.Stat(t.machine.path(name)); err != nil {
			return err
		}
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("unix", t.machine.path("/run/mtwire/admin.sock"))
		},
	}}
	return live.Eventually(ctx, settleTime, func() error {
		answer, err := client.Get("http://localhost/readyz")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", answer.Status, body)
		}
		return err
	})
}

func (t *trial) brokenStart(ctx context.Context) error {
	t.machine.run(ctx, "systemctl", "stop", unit)
	if err := t.machine.write(settings, "listen = [\":443\"]\ndrane = \"5s\"\n", 0o644); err != nil {
		return err
	}
	cursor, err := t.machine.cursor(ctx)
	if err != nil {
		return err
	}
	_, failed := t.machine.run(ctx, "systemctl", "start", unit)
	told := t.logged(ctx, cursor, "drane")
	t.machine.run(ctx, "systemctl", "stop", unit)
	err = errors.Join(told, t.machine.write(settings, configuration, 0o644))
	if failed == nil {
		err = errors.Join(err, errors.New("the start does not fail"))
	}
	return errors.Join(err, t.afresh(ctx, t.mtwire))
}

// tells returns an error unless systemctl status has a text.
func (t *trial) tells(ctx context.Context, text string) error {
	return live.Eventually(ctx, settleTime, func() error {
		status, _ := t.machine.run(ctx, "systemctl", "status", "--no-pager", "--full", unit) // fails unless it runs
		if !strings.Contains(status, text) {
			return fmt.Errorf("the status does not have %q: %s", text, status)
		}
		return nil
	})
}
