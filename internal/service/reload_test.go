package service

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/mtwiretest"
)

// users returns the names of the users that the service has now.
func (r *running) userNames() string {
	var names []string
	for _, user := range r.proxy.Users() {
		names = append(names, user.Name)
	}
	return strings.Join(names, " ")
}

// Reload reads the file of secrets again. Sessions of users that stay go on, and those
// of users that are gone end. A file that is invalid changes nothing.
func TestReloadReplacesTheUsers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const other = "ffffffffffffffffffffffffffffffff"
	write("alice=" + mtwiretest.PlainSecret)
	r := run(t, func(c *Config) { c.Secrets, c.SecretsFile = nil, path })
	conn := r.connect(t)

	write("alice=" + mtwiretest.PlainSecret + "\nbob=" + other + "\n")
	if reloaded, err := r.Reload(); !reloaded || err != nil || r.userNames() != "alice bob" {
		t.Errorf("%t, %v, %s", reloaded, err, r.userNames())
	}
	receive(t, conn)
	for _, text := range []string{"", "alice=" + mtwiretest.PlainSecret[2:], "alice=" + other + "\nalice=" + mtwiretest.PlainSecret} {
		write(text)
		_, err := r.Reload()
		if err == nil || strings.Contains(err.Error(), mtwiretest.PlainSecret[2:]) || r.userNames() != "alice bob" {
			t.Errorf("%q: %v, %s", text, err, r.userNames())
		}
	}
	receive(t, conn)
	write("bob=" + other)
	if _, err := r.Reload(); err != nil || r.userNames() != "bob" {
		t.Errorf("%v, %s", err, r.userNames())
	}
	if _, err := conn.Receive(t.Context()); err == nil {
		t.Error("the session of a user that is gone goes on")
	}
	if log := r.log.String(); strings.Count(log, `level=INFO msg="read the configuration again" users=`) != 2 {
		t.Error(log)
	}
}

// A user that was added to the state directory is there after Reload. If the secrets
// there are gone, the service keeps its users: a fresh secret would be in no link.
func TestReloadReadsTheStateDirectory(t *testing.T) {
	var config Config
	r := run(t, func(c *Config) {
		c.Secrets, c.State = nil, t.TempDir()
		config = *c
	})
	before := r.userNames()
	added := add(t, config, "carol")
	if reloaded, err := r.Reload(); !reloaded || err != nil || r.userNames() != before+" carol" {
		t.Errorf("%t, %v, %s", reloaded, err, r.userNames())
	}
	for _, user := range r.proxy.Users() {
		if user.Name == "carol" && user.Secrets[0] != added.Secret {
			t.Error("carol has another secret")
		}
	}
	for _, name := range []string{secretFile, usersFile} {
		if err := os.Remove(filepath.Join(config.State, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Reload(); !errors.Is(err, errNoneLeft) || r.userNames() != before+" carol" {
		t.Errorf("%v, %s", err, r.userNames())
	}
}

// The secrets of flags and of the environment do not change.
func TestReloadHasNothingToDoForFixedSecrets(t *testing.T) {
	r := run(t, nil)
	if reloaded, err := r.Reload(); reloaded || err != nil {
		t.Errorf("%t, %v", reloaded, err)
	}
	t.Setenv(secretsVariable, "dave="+mtwiretest.PlainSecret)
	r = run(t, func(c *Config) { c.Secrets = nil })
	if reloaded, err := r.Reload(); reloaded || err != nil || r.userNames() != "dave" {
		t.Errorf("%t, %v, %s", reloaded, err, r.userNames())
	}
}
