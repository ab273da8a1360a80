package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// systemd is notified of the start, of an upgrade with its time, of the process that serves
// afterwards, and of a failed upgrade.
//
// Specification: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
func TestUpgradeNotifiesSystemd(t *testing.T) {
	path, message := notifications(t)
	u := startUpgraded(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path) })
	serving := "\nSTATUS=serving " + version()
	if got := message(); got != "READY=1"+serving {
		t.Error(got)
	}
	reloading := regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]+$`)
	for range 2 {
		u.upgrade(t)
		if got := message(); !reloading.MatchString(got) {
			t.Error(got)
		}
		if got, want := message(), fmt.Sprintf("MAINPID=%d\nREADY=1", u.current)+serving; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	syscall.Kill(u.current, syscall.SIGTERM)
	if got := message(); got != "STOPPING=1\nSTATUS=draining sessions" {
		t.Error(got)
	}
}

// notifications returns a socket for messages to systemd, and a function that returns the
// next one.
func notifications(t *testing.T) (path string, message func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return path, func() string {
		t.Helper()
		b := make([]byte, 4096)
		socket.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := socket.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

// A process to which sessions still come is not upgraded before it has all of them. Otherwise
// systemd would be told last, by the first process, that the second one serves, with which
// the service would end.
func TestUpgradeWaitsForTheUpgradeBefore(t *testing.T) {
	t.Parallel()
	path, message := notifications(t)
	u := startUpgraded(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path) })
	conn, err := net.Dial("tcp", u.address) // in its handshake, it keeps the first process for seconds
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte{0xef})
	syscall.Kill(u.current, syscall.SIGUSR2)
	second := 0
	eventually(t, "another upgrade", func() bool {
		if second == 0 {
			second = catcher(u.current, u.log)
			return false
		}
		syscall.Kill(second, syscall.SIGUSR2) // refused until it serves
		return strings.Count(readAll(t, u.log), "msg=upgrading") == 2
	})
	var mains []string
	for len(mains) < 2 {
		if m := message(); strings.HasPrefix(m, "MAINPID=") {
			mains = append(mains, m)
		}
	}
	if want := fmt.Sprintf("MAINPID=%d\nREADY=1\n", second); !strings.HasPrefix(mains[0], want) || strings.HasPrefix(mains[1], want) {
		t.Errorf("%q, want %q first", mains, want)
	}
}

// catcher returns a process with that text on its command line, other than a parent, that
// catches SIGUSR2, and 0 if there is none.
func catcher(parent int, text string) int {
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range processes {
		line, _ := os.ReadFile(path)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		// The program that only checks the configuration is another one.
		if pid == parent || !strings.Contains(string(line), text) || strings.Contains(string(line), "--check") {
			continue
		}
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		_, mask, _ := strings.Cut(string(status), "SigCgt:\t")
		mask, _, _ = strings.Cut(mask, "\n")
		// Before the runtime does, the signal ends the process.
		if caught, err := strconv.ParseUint(mask, 16, 64); err == nil && caught&(1<<(syscall.SIGUSR2-1)) != 0 {
			return pid
		}
	}
	return 0
}

// Where systemd would end the service with the old process, there is no upgrade.
func TestUpgradeNeedsNotifications(t *testing.T) {
	path := program(t, `SYSTEMD_EXEC_PID=$$ INVOCATION_ID=1 exec -a "$0" "$MTWIRE_TEST_PROGRAM" "$@"`)
	u := startUpgraded(t, func(cmd *exec.Cmd) { cmd.Path = path })
	syscall.Kill(u.current, syscall.SIGUSR2)
	eventually(t, "a refusal", func() bool { return strings.Contains(readAll(t, u.log), "set Type=notify") })
	u.join(t, upgradeModes[0])
	if _, err := os.Stat(u.log); err != nil {
		t.Error(err)
	}
}

// systemctl status tells of a reload and of an upgrade that have failed, until one succeeds.
func TestStatusTellsOfFailures(t *testing.T) {
	t.Parallel()
	path, message := notifications(t)
	config := filepath.Join(t.TempDir(), "mtwire.toml")
	write := func(text string) {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	u := startUpgraded(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path) }, "--config", config, "--watch=false")
	message() // READY=1
	write("drane = 1\n")
	for signal, what := range map[syscall.Signal]string{syscall.SIGHUP: "reload", syscall.SIGUSR2: "upgrade"} {
		syscall.Kill(u.current, signal)
		if got := message(); !strings.HasPrefix(got, "STATUS=serving; the last "+what+" has failed: ") || !strings.Contains(got, "drane") || strings.Contains(got, "\n") {
			t.Errorf("%s: %s", what, got)
		}
	}
	write("")
	syscall.Kill(u.current, syscall.SIGHUP)
	if got, want := message(), "STATUS=serving "+version(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
