//go:build unix

package service

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// shortState returns a new directory whose path leaves room for the name of a socket.
func shortState(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "state")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// byDefault has the admin listener of a proxy without --admin.
func byDefault(state string) func(*Config) {
	return func(c *Config) { c.State, c.Admin = state, nil }
}

// A proxy has an admin socket without a setting, which only its owner can use, unless it
// is turned off.
func TestTheAdminSocketIsThereByDefault(t *testing.T) {
	state := shortState(t)
	socket := filepath.Join(state, "admin.sock")
	r := run(t, byDefault(state))
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	if status, body := askAdmin(t, AdminAddress{"unix", socket}, "/v1/users"); status != 200 || !strings.Contains(body, `"alice"`) {
		t.Error(status, body)
	}
	r.cancel()
	if err := r.result(t); err != nil {
		t.Fatal(err)
	}
	run(t, func(c *Config) { c.State, c.Admin = state, []AdminAddress{{Network: adminOff}} })
	if _, err := os.Stat(socket); err == nil {
		t.Error("there is a socket")
	}
}

// Two proxies of one state directory do not fight for the default socket: the second one
// warns and serves clients, and has the socket when the first one has ended. A socket of a
// process that was killed is replaced.
func TestASecondProxyLeavesTheDefaultSocketToTheFirst(t *testing.T) {
	state := shortState(t)
	socket := filepath.Join(state, "admin.sock")
	version := func() (status int, started string) {
		status, body := askAdmin(t, AdminAddress{"unix", socket}, "/v1/version")
		var d struct{ Started string }
		json.Unmarshal([]byte(body), &d)
		return status, d.Started
	}
	dead, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	first := run(t, byDefault(state))
	status, before := version()
	if status != 200 {
		t.Fatal(status)
	}
	second := run(t, func(c *Config) {
		byDefault(state)(c)
		c.Probe = false
	})
	second.connect(t).Close()
	if !strings.Contains(second.log.String(), "there is no admin listener") {
		t.Error("no warning:", second.log.String())
	}
	if _, now := version(); now != before {
		t.Error("the second proxy has taken the socket")
	}
	second.cancel()
	if err := second.result(t); err != nil {
		t.Fatal(err)
	}
	if _, now := version(); now != before {
		t.Error("the second proxy has removed the socket")
	}

	config := testConfig(t)
	byDefault(state)(&config)
	third, err := New(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	third.admin.retry = time.Millisecond
	if err := third.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- third.Run(t.Context(), t.Context()) }()
	first.cancel()
	if err := first.result(t); err != nil {
		t.Fatal(err)
	}
	within(t, "the next proxy has the socket", func() bool { status, now := version(); return status == http.StatusOK && now != before })
	third.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket is still there")
	}
}

// A user that is added has links with the domain of the first one, to where clients
// connect, and only while it is there.
func TestAddedUsersHaveLinks(t *testing.T) {
	state := shortState(t)
	r := run(t, func(c *Config) {
		byDefault(state)(c)
		c.Secrets = []NamedSecret{{"alice", secretOf(t, mtwiretest.FakeTLSSecret)}}
		c.Public = PublicAddress{Host: "proxy.example.org", Port: 443}
	})
	secret, err := r.newSecret()
	if err != nil {
		t.Fatal(err)
	}
	if want := r.limited[0].Secrets[0].Domain; secret.Mode != mtproxy.FakeTLS || secret.Domain != want {
		t.Errorf("%v, want the domain %s", secret.Redacted(), want)
	}
	for _, name := range []string{"alice", "bob"} {
		links, notes, err := r.linksOf(t.Context(), name)
		if err != nil || len(notes) > 0 || (name == "alice") != (len(links) == 1) {
			t.Error(name, links, notes, err)
		}
		if len(links) > 0 && links[0].(mtproxy.Link).Addr() != "proxy.example.org:443" {
			t.Error(links)
		}
	}
}
