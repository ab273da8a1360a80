package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mtwire/mtwire/interop/process"
)

// runAll runs the cases of all clients: first those of different clients in
// parallel, and then, one at a time, those that must run alone.
func (p *plan) runAll(ctx context.Context) (rows []row) {
	results := make([][]row, len(p.Clients))
	alone := make([][]testCase, len(p.Clients))
	var clients sync.WaitGroup
	for i, c := range p.Clients {
		clients.Go(func() {
			cases, err := c.cases(ctx)
			if err != nil {
				results[i] = []row{{Client: c.Name, Version: c.Version, Result: failed, Reason: err.Error()}}
				return
			}
			cases = slices.DeleteFunc(cases, func(t testCase) bool { return !strings.Contains(t.Name, p.Cases) })
			var parallel []testCase
			parallel, alone[i] = c.split(cases)
			results[i] = p.run(ctx, c, parallel)
		})
	}
	clients.Wait()
	for i, c := range p.Clients {
		rows = append(rows, results[i]...)
		rows = append(rows, p.run(ctx, c, alone[i])...)
	}
	return rows
}

// split separates a client's cases into those that may run in parallel with other
// clients' and those that must run alone. All cases of a client that needs a
// window run alone.
func (c *client) split(cases []testCase) (parallel, alone []testCase) {
	for _, t := range cases {
		if t.Alone || c.needsWindow() {
			alone = append(alone, t)
		} else {
			parallel = append(parallel, t)
		}
	}
	return parallel, alone
}

// run runs cases of a client, one after the other.
func (p *plan) run(ctx context.Context, c *client, cases []testCase) (rows []row) {
	for _, t := range cases {
		if ctx.Err() != nil {
			break
		}
		start := time.Now()
		r := p.runCase(ctx, c, t)
		if ctx.Err() != nil {
			break // the case failed because it was interrupted
		}
		r.Seconds = time.Since(start).Seconds()
		fmt.Fprintf(os.Stderr, "%-14s %-40s %s, %.1f s\n", c.Name, t.Name, r.Result, r.Seconds)
		rows = append(rows, r)
	}
	return rows
}

// runCase runs one case in an environment of its own.
func (p *plan) runCase(ctx context.Context, c *client, t testCase) row {
	r := row{Client: c.Name, Version: c.Version, Case: t.Name, Transport: t.Transport, Result: passed}
	fail := func(format string, args ...any) row {
		r.Result, r.Reason = failed, fmt.Sprintf(format, args...)
		return r
	}
	home, err := os.MkdirTemp("", "interop-")
	if err != nil {
		return fail("%v", err)
	}
	defer os.RemoveAll(home)
	e, err := p.start(ctx, t, home)
	if err != nil {
		return fail("%v", err)
	}
	defer e.stop()
	printed, err := p.driveAndCheckLeaks(ctx, c, t, e, home)
	e.stop()
	r.Note = lastNote(printed)
	r.Hello = e.recorder.helloLength()
	if err == nil {
		err = e.check(t, &r)
	}
	if err != nil {
		if ctx.Err() != nil {
			return fail("%v", err)
		}
		fmt.Fprintf(os.Stderr, "--- %s, %s: %v\n%s\n%s---\n", c.Name, t.Name, err, printed, e.logs())
		return fail("%v", err)
	}
	return r
}

// driveAndCheckLeaks runs the client and, if the case has leaks set, checks that
// the proxy releases its resources. It returns the client's output.
func (p *plan) driveAndCheckLeaks(ctx context.Context, c *client, t testCase, e *environment, home string) (printed string, err error) {
	if !t.Leaks {
		return p.drive(ctx, c, t, e, home)
	}
	if err := warmUp(ctx, e.proxy); err != nil {
		return "", err
	}
	before, err := e.proxy.Resources()
	if err != nil {
		return "", err
	}
	if printed, err = p.drive(ctx, c, t, e, home); err != nil {
		return printed, err
	}
	return printed, checkLeaks(ctx, e.proxy, before)
}

// drive runs the client. It returns the client's output.
func (p *plan) drive(ctx context.Context, c *client, t testCase, e *environment, home string) (string, error) {
	work := filepath.Join(home, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return "", err
	}
	keep := filepath.Join(p.Keep, c.Name)
	if err := os.MkdirAll(keep, 0o755); err != nil {
		return "", err
	}
	timeout := time.Duration(t.Timeout) * time.Second
	if p.Load && t.LoadTimeout > 0 {
		timeout = time.Duration(t.LoadTimeout) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := process.Command(ctx, filepath.Join(c.Source, "drive"), c.Dir, e.url, string(t.line))
	var out process.Output
	trusted := filesIn(home)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, work
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "LANG=" + os.Getenv("LANG"),
		"HOME=" + work, "TMPDIR=" + work,
		"INTEROP_SERVER_KEY=" + trusted.serverKey,
		"INTEROP_DATA_CENTER=" + e.dataCenter,
		"INTEROP_KEEP=" + keep,
	}
	if e.dc != nil {
		cmd.Env = append(cmd.Env, "INTEROP_CERTIFICATE="+trusted.certificate)
	}
	if p.Load {
		cmd.Env = append(cmd.Env, "INTEROP_LOAD=1")
	}
	if e.upgrades != nil {
		cmd.Env = append(cmd.Env, fmt.Sprintf("INTEROP_UPGRADES=%d", len(e.upgrades.programs)))
		if err := e.upgrades.attach(ctx, cancel, cmd, &out); err != nil {
			return "", err
		}
	}
	err := process.Run(cmd)
	text := out.Text()
	switch {
	case e.upgrades != nil && e.upgrades.err != nil:
		err = e.upgrades.err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("not done after %v", timeout)
	case err != nil && text != "":
		err = fmt.Errorf("%s (%w)", text[strings.LastIndexByte(text, '\n')+1:], err)
	case err == nil && e.upgrades != nil:
		var accepted int
		if accepted, err = e.accepted(); err == nil {
			err = e.upgrades.complete(accepted)
		}
	}
	return text, err
}

// check compares the data centre's report with what the case expects, and fills
// in the row.
func (e *environment) check(t testCase, r *row) error {
	if e.dc == nil {
		return nil
	}
	found, err := e.firstAnswered()
	if err != nil {
		return err
	}
	if found == nil {
		return errors.New("the data centre answered no req_pq")
	}
	got := found.connected
	r.Seen, r.Tag, r.DC, r.Request = got.Transport, got.Tag, got.DC, found.request
	want := t.Expect
	switch {
	case want.Tag != nil && *want.Tag != got.Tag:
		return fmt.Errorf("the tag is %q, expected %q", got.Tag, *want.Tag)
	case want.DC != nil && (got.DC == nil || *want.DC != *got.DC):
		return fmt.Errorf("the init payload is for %s, expected DC %d", dcText(got.DC), *want.DC)
	case want.Transport != "" && want.Transport != got.Transport:
		return fmt.Errorf("the transport is %q, expected %q", got.Transport, want.Transport)
	case want.Request != "" && want.Request != found.request:
		return fmt.Errorf("the request is %s, expected %s", found.request, want.Request)
	case r.Hello < want.Hello:
		return fmt.Errorf("the hello has %d bytes, expected at least %d", r.Hello, want.Hello)
	}
	return nil
}

// lastNote returns the rest of the last line that begins with "note: ", which a
// client prints for the table.
func lastNote(printed string) (note string) {
	for line := range strings.Lines(printed) {
		if rest, ok := strings.CutPrefix(line, "note: "); ok {
			note = strings.TrimSpace(rest)
		}
	}
	return note
}
