package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
)

// container starts mtwire proxy with the socket of --takeover, as a container does: a process
// that no other one has started.
type container struct {
	address, dc, state, socket string
}

func newContainers(t *testing.T) *container {
	t.Helper()
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &container{address, startEcho(t), filepath.Join(dir, "state"), filepath.Join(dir, "takeover")}
}

func (c *container) start(t *testing.T, change func(*exec.Cmd)) *upgraded {
	t.Helper()
	u := &upgraded{log: filepath.Join(t.TempDir(), "log")}
	u.server = startCommand(t, c.address, change, "mtwire", "proxy", "--listen", c.address, "--dc", "*="+c.dc,
		"--state", c.state, "--log-file", u.log, "--takeover", c.socket, "--drain", longDrain)
	u.current = u.Process.Pid
	t.Cleanup(u.kill)
	return u
}

// listens waits until the next process can take over.
func (c *container) listens(t *testing.T, u *upgraded) {
	t.Helper()
	eventually(t, "a start", func() bool { return contains(u.log, "msg=limits") })
	eventually(t, "a socket", func() bool {
		conn, err := net.Dial("unixpacket", c.socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// The sessions and the sockets go from container to container, with namespaces of their own
// for processes and mounts, and the one before ends as it is to. A process without one before
// starts as usual.
func TestTakeoverBySocket(t *testing.T) {
	t.Parallel()
	c := newContainers(t)
	apart := func(cmd *exec.Cmd) {
		patient(cmd)
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
		}
	}
	u := c.start(t, apart)
	c.listens(t, u)
	if info, err := os.Stat(c.socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	conns := []*mtwire.Conn{u.join(t, upgradeModes[0]), u.join(t, upgradeModes[2])}
	visitors := startVisitors(t, u)
	for range 2 {
		next := c.start(t, apart)
		select {
		case err := <-u.ended:
			if err != nil {
				t.Errorf("the process before: %v", err)
			}
		case <-time.After(patience):
			t.Fatalf("the process before does not end: %s", readAll(t, next.log))
		}
		for _, conn := range conns {
			if err := echoOnce(conn, 100); err != nil {
				t.Fatal(err)
			}
		}
		u = next
		c.listens(t, u)
	}
	visitors(t)
	eventually(t, "a line", func() bool { return contains(u.log, `msg="took over"`) })
	for _, conn := range conns {
		conn.Close()
	}
	if err := u.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(c.socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// A process that fails or hangs while it takes over leaves the one before with all sessions,
// and has none itself when it goes on.
func TestTakeoverThatFails(t *testing.T) {
	t.Parallel()
	c := newContainers(t)
	limits := filepath.Join(t.TempDir(), "limits")
	u := c.start(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, limitsVariable+"="+limits) })
	c.listens(t, u)
	conn := u.join(t, upgradeModes[0])
	failures := func() int { return strings.Count(readAll(t, u.log), "no process has taken over, this one goes on") }
	eventually(t, "the end of the connection that has looked for the socket", func() bool { return failures() == 1 })
	before := 1
	try := func(name string, change func(*exec.Cmd)) *upgraded {
		t.Helper()
		next := c.start(t, change)
		eventually(t, name, func() bool { return failures() > before })
		before = failures()
		if err := echoOnce(conn, 100); err != nil {
			t.Fatalf("%s: %v\n%s\n%s", name, err, readAll(t, u.log), readAll(t, next.log))
		}
		if !askEcho(u) {
			t.Errorf("%s: a client is not served", name)
		}
		return next
	}
	for _, step := range []string{"new has listeners", "new holds"} {
		try(step, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, stepVariable+"="+step) })
	}
	if err := os.WriteFile(limits, []byte("1m 500ms"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangs := try("a process that hangs", func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, stepVariable+"=stop new holds") })
	eventually(t, "a stopped process", func() bool { return isStopped(hangs.Process.Pid) }) // it may have been late, and not stopped yet
	hangs.Process.Signal(syscall.SIGCONT)
	select {
	case err := <-hangs.ended:
		if err == nil {
			t.Error("it ends as if nothing were wrong")
		}
	case <-time.After(patience):
		t.Error("it does not end")
	}
	if err := echoOnce(conn, 100); err != nil {
		t.Error(err)
	}
	if err := os.Remove(limits); err != nil {
		t.Fatal(err)
	}
	next := c.start(t, nil)
	select {
	case err := <-u.ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatalf("it does not end: %s", readAll(t, next.log))
	}
	if err := echoOnce(conn, 100); err != nil {
		t.Error(err, readAll(t, next.log))
	}
}

// The flags of the compose file are those of the program, and both services share what a
// takeover needs.
func TestComposeExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../examples/compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, command, _ := strings.Cut(string(text), "  command:\n")
	var args []string
	for _, line := range regexp.MustCompile(`(?m)^    - (\S+)$`).FindAllStringSubmatch(strings.SplitAfter(command, "\n\n")[0], -1) {
		args = append(args, line[1])
	}
	dir := t.TempDir()
	secrets := filepath.Join(dir, "secrets")
	if err := os.WriteFile(secrets, []byte(exampleFiles["secrets"]), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		args[i] = strings.NewReplacer("/run/secrets/secrets", secrets, "/state", dir).Replace(args[i])
	}
	if out, err := exec.Command("mtwire", append(args, "--check")...).CombinedOutput(); err != nil || len(args) < 5 {
		t.Errorf("%q: %v: %s", args, err, out)
	}
	for _, want := range []string{"network_mode: host", "state:/state", "--takeover=/state/", "restart: on-failure", "mtwire-a:", "mtwire-b:"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %s", want)
		}
	}
}

// The init of a container ends with the process that it has started, so an upgrade of that is
// refused, and the sessions stay.
func TestUpgradeUnderAnInitOfAContainer(t *testing.T) {
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	init := filepath.Join(t.TempDir(), "tini")
	install(t, shell, init, "")
	pids := filepath.Join(t.TempDir(), "pid")
	u := startUpgraded(t, func(cmd *exec.Cmd) {
		cmd.Args = append([]string{init, "-c", `"$@" & echo $! > ` + pids + `; wait`, init}, cmd.Args...)
		cmd.Path = init
	})
	conn := u.join(t, upgradeModes[0])
	if _, err := fmt.Sscan(readAll(t, pids), &u.current); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(u.current, syscall.SIGUSR2)
	eventually(t, "a refusal", func() bool { return contains(u.log, "the container of this process would end with it") })
	if err := echoOnce(conn, 100); err != nil {
		t.Error(err)
	}
}
