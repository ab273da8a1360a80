package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/interop/process"
)

// upgrades has other processes take over from a proxy, one after the other, while a
// client uses it. The client asks for each with a line on its standard output.
type upgrades struct {
	proxy       *process.Server
	path        string             // where an upgrade starts a program
	programs    []string           // for each upgrade, the program
	connections func() connections // of the client
	pid         int                // of the process that serves
	done        int                // upgrades
	before      connections        // those before the first upgrade
	err         error              // of an upgrade
	end         func()             // ends the client
	answers     io.Writer          // the client's standard input
	line        bytes.Buffer       // begun by the client
	output      io.Writer          // gets what the client prints
	ctx         context.Context    // of the client
}

const (
	// upgradeRequest and upgradeAnswer are lines that a client prints, and gets.
	upgradeRequest = "upgrade"
	upgradeAnswer  = "upgraded"

	// upgradeTimeout bounds an upgrade up to the end of the process before.
	upgradeTimeout = 60 * time.Second
	upgradePoll    = 10 * time.Millisecond
)

// startUpgraded starts the case's proxy, as a program that upgrades replace.
func (p *plan) startUpgraded(ctx context.Context, e *environment, home string, args []string) (*upgrades, error) {
	u := &upgrades{
		path:        filepath.Join(home, "mtwire"),
		programs:    []string{p.Mtwire, p.Mtwire, p.Before, p.Mtwire},
		connections: func() connections { return e.recorder.connections() },
	}
	if err := u.install(p.First); err != nil {
		return nil, err
	}
	args = append(args, "--state", filepath.Join(home, "state"))
	server, err := process.StartSuccession(ctx, u.path, args...)
	if err != nil {
		return nil, err
	}
	e.proxy, u.proxy, u.pid = server, server, server.Cmd.Process.Pid
	return u, nil
}

// install replaces the program at the path by another one.
func (u *upgrades) install(program string) error {
	if err := os.Symlink(program, u.path+".new"); err != nil {
		return err
	}
	return os.Rename(u.path+".new", u.path)
}

// attach has a client ask for upgrades, and writes what it prints to output.
// end ends the client.
func (u *upgrades) attach(ctx context.Context, end func(), cmd *exec.Cmd, output io.Writer) (err error) {
	u.ctx, u.end, u.output = ctx, end, output
	cmd.Stdout = u
	u.answers, err = cmd.StdinPipe()
	return err
}

// Write looks at what the client prints. For each request it upgrades the proxy, and
// answers. After an error of that, it ends the client.
func (u *upgrades) Write(b []byte) (int, error) {
	u.output.Write(b)
	u.line.Write(b)
	for {
		line, err := u.line.ReadString('\n')
		if err != nil {
			u.line.WriteString(line)
			return len(b), nil
		}
		if strings.TrimSpace(line) != upgradeRequest || u.err != nil {
			continue
		}
		if u.err = u.next(); u.err != nil {
			u.end()
			continue
		}
		io.WriteString(u.answers, upgradeAnswer+"\n")
	}
}

// next has the next process take over, and checks that it has all of the client's
// connections.
func (u *upgrades) next() error {
	if u.done == len(u.programs) {
		return errors.New("the client asks for another upgrade")
	}
	before := u.connections()
	if u.done == 0 {
		u.before = before
	}
	if before.open == 0 {
		return errors.New("the client asks for an upgrade without a connection")
	}
	took, err := u.upgrade(u.programs[u.done])
	u.done++
	switch after := u.connections(); {
	case err != nil:
		return fmt.Errorf("upgrade %d: %w", u.done, err)
	case took.sessions != before.open || took.left != 0:
		return fmt.Errorf("upgrade %d: %d sessions have moved and %d have not, the client has %d", u.done, took.sessions, took.left, before.open)
	case after != u.before:
		return fmt.Errorf("upgrade %d: the client has opened %d connections and has %d, before it were %d and %d", u.done, after.opened, after.open, u.before.opened, u.before.open)
	}
	return nil
}

// complete returns an error unless the client has used the connections that it had before
// the first upgrade until its end, after the last: it has opened no other, and neither has
// the proxy, of whose connections the data centre has reported that many.
func (u *upgrades) complete(reported int) error {
	if u.done < len(u.programs) {
		return fmt.Errorf("the client has asked for %d upgrades, and there are %d", u.done, len(u.programs))
	}
	if after := u.connections(); after.opened != u.before.opened || reported != u.before.opened {
		return fmt.Errorf("the client has opened %d connections and the proxy %d, before the upgrades there were %d", after.opened, reported, u.before.opened)
	}
	return nil
}

// takeover is what the process before has logged about an upgrade.
type takeover struct{ pid, sessions, left int }

var (
	takenOver = regexp.MustCompile(`another process has taken over" pid=(\d+) sessions=(\d+) left=(\d+)`)
	// tookOver matches what the new process logs.
	tookOver = regexp.MustCompile(`msg="took over" sessions=(\d+)`)
)

// takeovers returns those in a log.
func takeovers(log string) (all []takeover) {
	for _, found := range takenOver.FindAllStringSubmatch(log, -1) {
		var t takeover
		for i, field := range []*int{&t.pid, &t.sessions, &t.left} {
			*field, _ = strconv.Atoi(found[i+1])
		}
		all = append(all, t)
	}
	return all
}

// upgrade has a program take over, and waits until it has and the process before has
// ended.
func (u *upgrades) upgrade(program string) (took takeover, err error) {
	if err := u.install(program); err != nil {
		return took, err
	}
	before := len(takeovers(u.proxy.Stderr.Text()))
	if err := syscall.Kill(u.pid, syscall.SIGUSR2); err != nil {
		return took, err
	}
	ctx, cancel := context.WithTimeout(u.ctx, upgradeTimeout)
	defer cancel()
	if err := until(ctx, func() bool {
		log := u.proxy.Stderr.Text()
		if all := takeovers(log); len(all) > before {
			took = all[before]
		}
		return took.pid != 0 || strings.Contains(log, "the upgrade has failed") || strings.Contains(log, "there is no upgrade now")
	}); took.pid == 0 {
		return took, errors.Join(errors.New("no process has taken over"), err)
	}
	if until(ctx, func() bool { return !isRunning(u.pid) }) != nil {
		return took, errors.New("the process before does not end")
	}
	if !isRunning(took.pid) {
		return took, errors.New("the process that has taken over does not run")
	}
	u.pid = took.pid
	return took, u.checkTookOver(ctx, before, took.sessions)
}

// checkTookOver waits until the new process has logged that it has taken over, which it may
// do later than the one before, and compares the number of sessions.
func (u *upgrades) checkTookOver(ctx context.Context, before, sessions int) error {
	var all [][]string
	if until(ctx, func() bool {
		all = tookOver.FindAllStringSubmatch(u.proxy.Stderr.Text(), -1)
		return len(all) > before
	}) != nil {
		return errors.New("the new process does not log that it has taken over")
	}
	if got := all[before][1]; got != strconv.Itoa(sessions) {
		return fmt.Errorf("the new process has taken over %s sessions, and the one before has given %d", got, sessions)
	}
	return nil
}

// until waits until done returns true, which it calls at least once. Its error is that of
// the context.
func until(ctx context.Context, done func() bool) error {
	for {
		err := ctx.Err()
		if done() {
			return nil
		}
		if err != nil {
			return err
		}
		time.Sleep(upgradePoll)
	}
}

// isRunning reports whether there is a process that has not ended. One that has ended
// stays a zombie until its parent waits for it.
func isRunning(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}
