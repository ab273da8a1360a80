package service

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Reconfigure replaces users and lists at once, or changes nothing; it tells the settings
// that need a restart and have changed. Sessions of users that stay go on.
func TestReconfigureReplacesUsersAndLists(t *testing.T) {
	block := filepath.Join(t.TempDir(), "block")
	writeBlock := func(text string) {
		if err := os.WriteFile(block, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	named := func(name, secret string) config.User {
		return config.User{Name: name, Secret: config.Secret{Secret: secretOf(t, secret)}, Enabled: true}
	}
	alice, bob := named("alice", mtwiretest.PlainSecret), named("bob", plain(7))
	writeBlock("192.0.2.0/24\n")
	var before Config
	r := run(t, func(c *Config) {
		c.Secrets, c.Users, c.Block = nil, []config.User{alice}, []config.Path{config.Path(block)}
		before = *c
	})
	conn := r.connect(t)
	check := func(what, users string, networks int) {
		t.Helper()
		if r.userNames() != users || r.Access().Block != networks {
			t.Errorf("%s: users %s and %d networks", what, r.userNames(), r.Access().Block)
		}
		receive(t, conn)
	}

	next := before
	next.Users, next.MetricsUsers, next.LogJSON = []config.User{alice, bob}, before.MetricsUsers+1, !before.LogJSON
	writeBlock("192.0.2.0/24\n198.51.100.0/24\n")
	restart, err := r.Reconfigure(next)
	if err != nil || !slices.Equal(restart, []string{"metrics_users", "log_json"}) {
		t.Errorf("%v, %v", restart, err)
	}
	check("both are replaced", "alice bob", 2)

	writeBlock("192.0.2.0/24\nexample.com\n")
	next.Users = []config.User{alice}
	if _, err := r.Reconfigure(next); err == nil || !strings.Contains(err.Error(), "block:2:1: ") {
		t.Errorf("a bad list: %v", err)
	}
	check("the list is bad", "alice bob", 2)
	writeBlock("192.0.2.0/24\n")
	next.Users = []config.User{alice, named("carol", mtwiretest.PlainSecret)}
	if _, err := r.Reconfigure(next); err == nil || !strings.Contains(err.Error(), "user[1].secret") {
		t.Errorf("a user has another's secret: %v", err)
	}
	check("the users are bad", "alice bob", 2)
	next.Users = nil
	if _, err := r.Reconfigure(next); err == nil {
		t.Error("no user is left")
	}
	next.DialTimeout = 0
	next.Users = []config.User{alice}
	if _, err := r.Reconfigure(next); err == nil {
		t.Error("a bad setting is accepted")
	}
	check("nothing is left", "alice bob", 2)

	// Reload reads the list of what is in force now.
	if reloaded, err := r.Reload(); !reloaded || err != nil {
		t.Errorf("%t, %v", reloaded, err)
	}
	check("the list is read again", "alice bob", 1)
	next = before
	next.Users, next.Block = []config.User{bob}, nil
	if _, err := r.Reconfigure(next); err != nil || r.userNames() != "bob" || r.Access().Block != 0 {
		t.Errorf("%v, %s", err, r.userNames())
	}
	if _, err := conn.Receive(t.Context()); err == nil {
		t.Error("the session of a user that is gone goes on")
	}
}
