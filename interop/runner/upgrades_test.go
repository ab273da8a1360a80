package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/interop/process"
)

// upgradedScript is a proxy that has other processes take over, and logs what a test has it
// log. The process before ends, unless there is a file "stay".
const upgradedScript = `#!/usr/bin/env bash
trap 'upgrade' USR2
upgrade() {
	[ -e "$0.fail" ] && { echo 'msg="the upgrade has failed, this process goes on"'; return; }
	"$0" "$@" &
	echo "msg=\"another process has taken over\" pid=$! $(cat "$0.log")"
	echo "msg=\"took over\" sessions=$(cat "$0.took")"
	[ -e "$0.stay" ] || exit 0
}
echo listening on 127.0.0.1:1
while :; do sleep 0.01; done
`

// A case fails if an upgrade fails, leaves a session or the process before behind, or if
// the client has another connection afterwards.
func TestUpgradesThatLoseASessionFail(t *testing.T) {
	one, script := connections{1, 1}, writeScript(t)
	for name, test := range map[string]struct {
		log, took     string
		file          string
		before, after connections
		want          string
	}{
		"all":            {"sessions=1 left=0", "1", "", one, one, ""},
		"failure":        {"sessions=1 left=0", "1", "fail", one, one, "no process has taken over"},
		"not moved":      {"sessions=0 left=1", "0", "", one, one, "0 sessions have moved and 1 have not"},
		"not received":   {"sessions=1 left=0", "0", "", one, one, "has taken over 0 sessions"},
		"reconnect":      {"sessions=1 left=0", "1", "", one, connections{2, 1}, "has opened 2 connections"},
		"end":            {"sessions=1 left=0", "1", "", one, connections{1, 0}, "has 0"},
		"not connected":  {"sessions=0 left=0", "0", "", connections{}, connections{}, "without a connection"},
		"process before": {"sessions=1 left=0", "1", "stay", one, one, "does not end"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := fakeUpgrades(t, script, map[string]string{"log": test.log, "took": test.took, test.file: ""})
			if test.file == "stay" {
				ctx, cancel := context.WithCancel(t.Context())
				u.ctx = ctx
				go func() {
					until(t.Context(), func() bool { return len(takeovers(u.proxy.Stderr.Text())) > 0 })
					cancel()
				}()
			}
			calls := 0
			u.connections = func() connections {
				if calls++; calls == 1 {
					return test.before
				}
				return test.after
			}
			err := u.next()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// writeScript writes upgradedScript, while no other test starts a process: that would have
// the file open for a moment, and it could not be started.
func writeScript(t *testing.T) (path string) {
	path = filepath.Join(t.TempDir(), "proxy")
	if err := os.WriteFile(path, []byte(upgradedScript), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// fakeUpgrades starts the script at path, which finds files beside it.
func fakeUpgrades(t *testing.T, path string, files map[string]string) *upgrades {
	u := &upgrades{path: filepath.Join(t.TempDir(), "mtwire"), programs: []string{path}, ctx: t.Context()}
	for name, text := range files {
		if err := os.WriteFile(u.path+"."+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.install(path); err != nil {
		t.Fatal(err)
	}
	server, err := process.StartSuccession(t.Context(), u.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	u.proxy, u.pid = server, server.Cmd.Process.Pid
	return u
}

// A client asks for upgrades with lines, which come in pieces, and gets a line for each. It
// must ask for all.
func TestClientsAskForUpgrades(t *testing.T) {
	u := fakeUpgrades(t, writeScript(t), map[string]string{"log": "sessions=1 left=0", "took": "1"})
	u.connections = func() connections { return connections{1, 1} }
	var printed bytes.Buffer
	var answers bytes.Buffer
	ended := false
	u.output, u.answers, u.end = &printed, &answers, func() { ended = true }
	if err := u.complete(1); err == nil {
		t.Error("a client that asks for nothing passes")
	}
	for _, part := range []string{"connected\nupgr", "ade\nmore", "\n"} {
		u.Write([]byte(part))
	}
	if u.err != nil || answers.String() != "upgraded\n" || printed.String() != "connected\nupgrade\nmore\n" {
		t.Errorf("%v, answers %q to %q", u.err, &answers, &printed)
	}
	if err := u.complete(2); err == nil {
		t.Error("another connection to the data centre passes")
	}
	if err := u.complete(1); err != nil {
		t.Error(err)
	}
	if u.Write([]byte("upgrade\n")); u.err == nil || !ended {
		t.Error("there is no end of upgrades")
	}
}
