package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire"
)

// upgradeResult is what mtwire upgrade --json prints.
type upgradeResult struct {
	From, To            string
	PID, Sessions, Left int
	Seconds             float64
}

// command runs mtwire, and returns what it prints and its exit code.
func command(t *testing.T, args ...string) (out, stderr string, code int) {
	t.Helper()
	cmd := exec.Command("mtwire", args...)
	var written, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &written, &errors
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return written.String(), errors.String(), cmd.ProcessState.ExitCode()
}

// mtwire upgrade returns when the new process has taken over, and tells its number, the
// versions, and how many sessions have moved. It starts the program at the path of the one
// that runs, also if that was replaced or removed meanwhile, or another one.
func TestUpgradeCommand(t *testing.T) {
	t.Parallel()
	mtwire, err := exec.LookPath("mtwire")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	installed, socket := filepath.Join(dir, "mtwire"), filepath.Join(dir, "admin")
	install(t, mtwire, installed, "first")
	u := startUpgraded(t, func(cmd *exec.Cmd) { cmd.Path = installed; cmd.Args[0] = installed }, "--admin", "unix:"+socket)
	conn := u.join(t, upgradeModes[3])

	install(t, mtwire, installed, "second") // the one that runs has no name any more
	out, stderr, code := command(t, "upgrade", "--json", "--socket", socket)
	var result upgradeResult
	if err := json.Unmarshal([]byte(out), &result); err != nil || code != 0 {
		t.Fatal(err, code, out, stderr)
	}
	if result.PID == u.current || result.Sessions != 1 || result.Left != 0 || result.Seconds <= 0 || result.To == "" || result.From != result.To {
		t.Errorf("%+v", result)
	}
	if path, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(result.PID), "exe")); path != installed {
		t.Errorf("%s runs: %v", path, err)
	}
	if err := echoOnce(conn, 100); err != nil {
		t.Fatal(err)
	}

	other := filepath.Join(dir, "other")
	install(t, mtwire, other, "third")
	out, stderr, code = command(t, "upgrade", "--socket", socket, "--binary", other)
	if want := "upgraded to " + result.To + ", from " + result.From + "\nprocess "; code != 0 || !strings.HasPrefix(out, want) || !strings.Contains(out, "has taken over 1 sessions in ") {
		t.Error(code, out, stderr)
	}
	if err := echoOnce(conn, 100); err != nil {
		t.Fatal(err)
	}
}

// install installs a program that is another file than the one before, as a rename does.
func install(t *testing.T, program, path, mark string) {
	t.Helper()
	// Another process writes it: a child of this one, started meanwhile by another test, would
	// have the file open for writing, and it could not be started. An ELF file may have more at
	// its end.
	if out, err := exec.Command("sh", "-c", `cp "$0" "$1" && printf %s "$2" >> "$1" && chmod 700 "$1"`, program, path+".new", mark).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// failing are programs that cannot be upgraded to, by what is wrong with them, and want is
// what the operator is told.
func failing(t *testing.T) map[string]struct{ program, want string } {
	t.Helper()
	mtwire, err := exec.LookPath("mtwire")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		writeProgram(t, path, text)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const script, afterCheck = "#!/bin/bash\n", "#!/bin/bash\ncase \"$*\" in *--check*) exit 0;; esac\n"
	runs := "exec " + mtwire + " \"$@\"\n"
	programs := map[string]struct{ program, want string }{
		"missing":       {filepath.Join(dir, "nothing"), "no such file"},
		"directory":     {dir, "it is no file"},
		"permission":    {file("data", "", 0o600), "it is not executable"},
		"no program":    {file("text", "text", 0o700), "cannot check the configuration"},
		"configuration": {file("strict", script+"echo 'mtwire: mtwire.toml:7:1: unknown key' >&2\nexit 1\n", 0o700), "the new program does not accept the configuration: mtwire.toml:7:1: unknown key"},
		"slow check":    {file("slow", script+"sleep 100\n", 0o700), "does not finish its check"},
		"crash":         {file("crash", afterCheck+"exit 7\n", 0o700), "the new process has ended"},
		"hangs":         {file("hangs", afterCheck+"exec sleep 100\n", 0o700), "the new process does not answer in time"},
		"version":       {file("version", script+otherVersionVariable+"=1 "+runs, 0o700), "the new process speaks version 19789 of the protocol"},
		"step":          {file("step", script+stepVariable+"='new has listeners' "+runs, 0o700), "the new process has ended"},
	}
	if os.Geteuid() == 0 {
		programs["of others"] = struct{ program, want string }{file("open", "", 0o722), "users other than root can change it"}
	}
	return programs
}

// hanging returns a program whose upgrade hangs until end is called.
func hanging(t *testing.T) (program string, end func()) {
	t.Helper()
	dir := t.TempDir()
	program, started := filepath.Join(dir, "mtwire"), filepath.Join(dir, "started")
	replaceProgram(t, program, `case "$*" in *--check*) exit 0;; esac; echo $$ > `+started+`; exec sleep 100`)
	return program, func() {
		t.Helper()
		var pid int
		eventually(t, "the new process", func() bool {
			text, _ := os.ReadFile(started)
			pid, _ = strconv.Atoi(strings.TrimSuffix(string(text), "\n"))
			return pid > 0 && strings.HasSuffix(string(text), "\n")
		})
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// A program that cannot be started, that does not accept the configuration, or that ends,
// hangs or speaks another protocol, leaves the proxy as it is: the command, the API and the
// log tell the cause, a session goes on, and a new one connects.
func TestUpgradeCommandTellsWhyItFails(t *testing.T) {
	t.Parallel()
	sockets := t.TempDir()
	start := func(name string, environment ...string) (u *upgraded, socket string) {
		socket = filepath.Join(sockets, name)
		return startUpgraded(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, environment...) }, "--admin", "unix:"+socket), socket
	}
	patient, patientSocket := start("patient")
	limits := filepath.Join(sockets, "limits")
	if err := os.WriteFile(limits, []byte("400ms 1m"), 0o600); err != nil {
		t.Fatal(err)
	}
	hasty, hastySocket := start("hasty", limitsVariable+"="+limits)
	hastier, hastierSocket := start("hastier", checkVariable+"=400ms")
	conns := make(map[*upgraded]*mtwire.Conn)
	for _, u := range []*upgraded{patient, hasty, hastier} {
		conns[u] = u.join(t, upgradeModes[0])
	}
	for name, test := range failing(t) {
		u, socket := patient, patientSocket
		switch name {
		case "hangs":
			u, socket = hasty, hastySocket
		case "slow check":
			u, socket = hastier, hastierSocket
		}
		out, stderr, code := command(t, "upgrade", "--socket", socket, "--binary", test.program)
		if code != 1 || out != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%s: %d %s %s, want %q", name, code, out, stderr, test.want)
		}
		eventually(t, "a line for "+name, func() bool { return strings.Contains(readAll(t, u.log), test.program+" cause=") })
		if err := echoOnce(conns[u], 100); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		u.join(t, upgradeModes[2]).Close()
	}
	if _, stderr, code := command(t, "upgrade", "--socket", patientSocket); code != 0 {
		t.Fatal(code, stderr)
	}
	if err := echoOnce(conns[patient], 100); err != nil {
		t.Error(err)
	}
}

// Of two upgrades at once, one is refused.
func TestOneUpgradeAtATime(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "admin")
	u := startUpgraded(t, nil, "--admin", "unix:"+socket)
	ended := make(chan bool)
	program, end := hanging(t)
	go func() {
		defer close(ended)
		command(t, "upgrade", "--socket", socket, "--binary", program)
	}()
	eventually(t, "an upgrade", func() bool { return contains(u.log, "msg=upgrading") })
	if _, stderr, code := command(t, "upgrade", "--socket", socket); code != 1 || !strings.Contains(stderr, "an upgrade is on its way") {
		t.Error(code, stderr)
	}
	end()
	<-ended
	if !askEcho(u) {
		t.Error("a client is not served")
	}
}

// While a process drains, the command and the log tell that it ends, and not that it goes on.
func TestNoUpgradeWhileAProcessDrains(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "admin")
	u := startUpgraded(t, patient, "--admin", "unix:"+socket)
	conn := u.join(t, upgradeModes[0])
	busy := make(chan bool)
	go func() { // a session that is never idle keeps the process
		defer close(busy)
		for echoOnce(conn, 100) == nil {
		}
	}()
	syscall.Kill(u.current, syscall.SIGTERM)
	eventually(t, "a drain", func() bool { return contains(u.log, "msg=stopping") })
	_, stderr, code := command(t, "upgrade", "--socket", socket)
	if code != 1 || !strings.Contains(stderr, "the process ends") || contains(u.log, "this process goes on") {
		t.Error(code, stderr, readAll(t, u.log))
	}
	conn.Close()
	<-busy
}
