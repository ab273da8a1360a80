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
)

// systemd is notified of the start, of an upgrade with its time, of the process that serves
// afterwards, and of a failed upgrade.
//
// Specification: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
func TestUpgradeNotifiesSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	message := func() string {
		b := make([]byte, 4096)
		socket.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := socket.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	u := startUpgraded(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path) })
	if got := message(); got != "READY=1" {
		t.Error(got)
	}
	reloading := regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]+$`)
	for range 2 {
		u.upgrade(t)
		if got := message(); !reloading.MatchString(got) {
			t.Error(got)
		}
		if got, want := message(), fmt.Sprintf("MAINPID=%d\nREADY=1", u.current); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	syscall.Kill(u.current, syscall.SIGTERM)
	if got := message(); got != "STOPPING=1" {
		t.Error(got)
	}
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
