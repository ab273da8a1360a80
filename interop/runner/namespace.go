package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/mtwire/mtwire/interop/process"
)

// plan has the clients to run inside of the namespace, and how.
type plan struct {
	Mtwire, Gotd string // binaries
	First        string // the program that upgrades begin with
	Before       string // one that speaks an older version of the hand-over protocol
	Load         bool
	Cases        string // a text in the names of the cases to run
	Keep         string // a directory for screenshots
	Clients      []*client
	Probes       probes
}

// runInside runs the plan in a process in a new network namespace, as
// "unshare --net" makes it: this process and its children reach only loopback.
func runInside(ctx context.Context, p plan) (rows []row, err error) {
	if len(p.Clients) == 0 && len(p.Probes.Sites) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, insideCommand)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	cmd.Stdin, cmd.Stderr = bytes.NewReader(text), os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); errors.Is(err, os.ErrPermission) {
		for _, c := range p.Clients {
			rows = append(rows, row{
				Client: c.Name, Version: c.Version, Result: notRun,
				Reason: "a network namespace needs root",
			})
		}
		if len(p.Probes.Sites) > 0 {
			rows = append(rows, row{Client: probesName, Result: notRun, Reason: "a network namespace needs root"})
		}
		return rows, nil
	} else if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return rows, fmt.Errorf("inside the namespace: %w", err)
		}
		rows = append(rows, r)
	}
	return rows, errors.Join(lines.Err(), cmd.Wait())
}

// inside reads a plan, runs it, and writes a row as a line of JSON for each case.
func inside(ctx context.Context, r io.Reader, w io.Writer) error {
	var p plan
	if err := json.NewDecoder(r).Decode(&p); err != nil {
		return err
	}
	if err := process.LoopbackUp(); err != nil {
		return err
	}
	encoder := json.NewEncoder(w)
	for _, r := range append(p.runAll(ctx), p.runProbes(ctx)...) {
		if err := encoder.Encode(r); err != nil {
			return err
		}
	}
	return ctx.Err()
}
