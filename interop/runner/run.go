package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// runAll runs the cases of all clients: those of different clients side by
// side, and then, one at a time, what is to be alone.
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
			var beside []testCase
			beside, alone[i] = c.split(cases)
			results[i] = p.run(ctx, c, beside)
		})
	}
	clients.Wait()
	for i, c := range p.Clients {
		rows = append(rows, results[i]...)
		rows = append(rows, p.run(ctx, c, alone[i])...)
	}
	return rows
}

// split parts a client's cases into those that others may run beside, and
// those that are to be alone, as all are of a client that needs a window.
func (c *client) split(cases []testCase) (beside, alone []testCase) {
	for _, t := range cases {
		if t.Alone || c.needsWindow() {
			alone = append(alone, t)
		} else {
			beside = append(beside, t)
		}
	}
	return beside, alone
}

// run runs cases of a client, one after another.
func (p *plan) run(ctx context.Context, c *client, cases []testCase) (rows []row) {
	for _, t := range cases {
		if ctx.Err() != nil {
			break
		}
		start := time.Now()
		r := p.runCase(ctx, c, t)
		if ctx.Err() != nil {
			break // which is what it failed by
		}
		r.Seconds = time.Since(start).Seconds()
		fmt.Fprintf(os.Stderr, "%-14s %-40s %s, %.1f s\n", c.Name, t.Name, r.Result, r.Seconds)
		rows = append(rows, r)
	}
	return rows
}

// runCase runs one case on a stage of its own.
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
	s, err := p.set(ctx, t, filesIn(home))
	if err != nil {
		return fail("%v", err)
	}
	defer s.strike()
	said, err := p.driveAndSettle(ctx, c, t, s, home)
	s.strike()
	r.Said = lastNote(said)
	r.Hello = s.tap.helloLength()
	if err == nil {
		err = s.check(t, &r)
	}
	if err != nil {
		if ctx.Err() != nil {
			return fail("%v", err)
		}
		fmt.Fprintf(os.Stderr, "--- %s, %s: %v\n%s\n%s---\n", c.Name, t.Name, err, said, s.logs())
		return fail("%v", err)
	}
	return r
}

// driveAndSettle runs the client, and if the case asks for it makes sure that
// the proxy holds nothing afterwards.
func (p *plan) driveAndSettle(ctx context.Context, c *client, t testCase, s *stage, home string) (said string, err error) {
	if !t.Leaks {
		return p.drive(ctx, c, t, s, home)
	}
	if err := s.proxy.warmUp(ctx); err != nil {
		return "", err
	}
	before, err := s.proxy.holdings()
	if err != nil {
		return "", err
	}
	if said, err = p.drive(ctx, c, t, s, home); err != nil {
		return said, err
	}
	return said, s.proxy.settles(ctx, before)
}

// drive runs the client. It returns what that said.
func (p *plan) drive(ctx context.Context, c *client, t testCase, s *stage, home string) (string, error) {
	work := filepath.Join(home, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return "", err
	}
	keep := filepath.Join(p.Keep, c.Name)
	if err := os.MkdirAll(keep, 0o755); err != nil {
		return "", err
	}
	limit := time.Duration(t.Timeout) * time.Second
	if p.Load && t.LoadTimeout > 0 {
		limit = time.Duration(t.LoadTimeout) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := command(ctx, filepath.Join(c.Source, "drive"), c.Dir, s.url, string(t.line))
	var said output
	trusted := filesIn(home)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &said, &said, work
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "LANG=" + os.Getenv("LANG"),
		"HOME=" + work, "TMPDIR=" + work,
		"INTEROP_SERVER_KEY=" + trusted.serverKey,
		"INTEROP_DATA_CENTER=" + s.dataCenter,
		"INTEROP_KEEP=" + keep,
	}
	if s.dc != nil {
		cmd.Env = append(cmd.Env, "INTEROP_CERTIFICATE="+trusted.certificate)
	}
	if p.Load {
		cmd.Env = append(cmd.Env, "INTEROP_LOAD=1")
	}
	err := runGroup(cmd)
	text := said.text()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("not done after %v", limit)
	case err != nil && text != "":
		err = fmt.Errorf("%s (%w)", text[strings.LastIndexByte(text, '\n')+1:], err)
	}
	return text, err
}

// check compares what the data centre saw with what was expected, and fills
// in the row.
func (s *stage) check(t testCase, r *row) error {
	if s.dc == nil {
		return nil
	}
	found, err := s.evidence()
	if err != nil {
		return err
	}
	if found == nil {
		return errors.New("the data centre answered no req_pq")
	}
	e := found.connected
	r.Seen, r.Tag, r.DC, r.Request = e.Transport, e.Tag, e.DC, found.request
	want := t.Expect
	switch {
	case want.Tag != nil && *want.Tag != e.Tag:
		return fmt.Errorf("the tag is %q, expected %q", e.Tag, *want.Tag)
	case want.DC != nil && (e.DC == nil || *want.DC != *e.DC):
		return fmt.Errorf("the init payload is for %s, expected DC %d", dcText(e.DC), *want.DC)
	case want.Transport != "" && want.Transport != e.Transport:
		return fmt.Errorf("the transport is %q, expected %q", e.Transport, want.Transport)
	case want.Request != "" && want.Request != found.request:
		return fmt.Errorf("the request is %s, expected %s", found.request, want.Request)
	case r.Hello < want.Hello:
		return fmt.Errorf("the hello has %d bytes, expected at least %d", r.Hello, want.Hello)
	}
	return nil
}

// lastNote is what a client wants to have in the table: a line that begins
// with "note: ", the last of them.
func lastNote(said string) (note string) {
	for line := range strings.Lines(said) {
		if rest, ok := strings.CutPrefix(line, "note: "); ok {
			note = strings.TrimSpace(rest)
		}
	}
	return note
}
