package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// keptConfig returns a configuration without secrets, and with a state directory that
// does not exist yet.
func keptConfig(t *testing.T) Config {
	config := testConfig(t)
	config.Secrets, config.State = nil, filepath.Join(t.TempDir(), "state")
	return config
}

// firstRun runs a service until it listens.
func firstRun(t *testing.T, config Config) {
	t.Helper()
	listening(t, config).Close()
}

// add returns the user that AddUser adds.
func add(t *testing.T, config Config, name string) NamedSecret {
	t.Helper()
	added, path, err := AddUser(config, name, discard)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("%s: %v, %v", path, info.Mode(), err)
	}
	return added
}

// namesOf returns the names of the users of a configuration.
func namesOf(t *testing.T, config Config) (names []string) {
	t.Helper()
	secrets, _, err := Secrets(config, "", discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		names = append(names, s.Name)
	}
	return names
}

// Added users are beside the first run's, have its domain, and are those of a service.
func TestAddedUsersAreBesideTheFirst(t *testing.T) {
	config := keptConfig(t)
	config.Domain = "site.example"
	firstRun(t, config)
	config.Domain = ""
	alice, bob := add(t, config, "alice"), add(t, config, "bob")
	if alice.Secret.Domain != "site.example" || bob.Secret.Domain != "site.example" || alice.Secret.Key == bob.Secret.Key {
		t.Error(alice, bob)
	}
	config.Domain, config.Modes = "other.example", mtproxy.EE
	if carol := add(t, config, "carol"); carol.Secret.Domain != "other.example" {
		t.Error(carol)
	}
	config.Domain, config.Modes = "", mtproxy.AllModes
	if names := namesOf(t, config); !slices.Equal(names, []string{"1", "alice", "bob", "carol"}) {
		t.Error(names)
	}
	links := linksOf(listening(t, config))
	if len(links) != 4 || links[1].User != "alice" || links[1].Secret != alice.Secret {
		t.Error(links)
	}
}

// Users may be added before a first run, which then makes no secret.
func TestAddedUsersMayBeTheOnlyOnes(t *testing.T) {
	config := keptConfig(t)
	alice := add(t, config, "alice")
	if alice.Secret.Domain != DefaultDomain {
		t.Error(alice)
	}
	firstRun(t, config)
	if names := namesOf(t, config); !slices.Equal(names, []string{"alice"}) {
		t.Error(names)
	}
}

func TestUsersHaveOneNameEach(t *testing.T) {
	config := keptConfig(t)
	firstRun(t, config)
	add(t, config, "alice")
	for name, want := range map[string]string{
		"alice": `there is a user "alice" already`, "1": `there is a user "1" already`, "": "bad name", "a b": "bad name", "a=b": "bad name",
	} {
		if _, _, err := AddUser(config, name, discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// The file may be edited: a user whose line is gone is gone, and a line without an end
// is not continued.
func TestFileOfAddedUsersMayBeEdited(t *testing.T) {
	config := keptConfig(t)
	firstRun(t, config)
	path := filepath.Join(config.State, usersFile)
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string][]string{
		"":                                  {"1", "carol"},
		"\n\n":                              {"1", "carol"},
		"# none\n":                          {"1", "carol"},
		"bob=" + mtwiretest.PaddedSecret:    {"1", "bob", "carol"},
		"\nbob = " + mtwiretest.PlainSecret: {"1", "bob", "carol"},
	} {
		write(text)
		add(t, config, "carol")
		if names := namesOf(t, config); !slices.Equal(names, want) {
			t.Errorf("%q: %q, want %q", text, names, want)
		}
	}
	for _, text := range []string{"bob=" + mtwiretest.PlainSecret[2:], "bob", "1=" + mtwiretest.PlainSecret, "b=" + mtwiretest.PlainSecret + "\nb=" + mtwiretest.PaddedSecret} {
		write(text)
		_, _, err := Secrets(config, "", discard)
		if err == nil || strings.Contains(err.Error(), mtwiretest.PlainSecret[2:]) {
			t.Errorf("%q: %v", text, err)
		}
		if _, _, err := AddUser(config, "carol", discard); err == nil {
			t.Errorf("%q: a user is added", text)
		}
	}
}

// Concurrent calls lose no user.
func TestUsersAreAddedConcurrently(t *testing.T) {
	config := keptConfig(t)
	var calls sync.WaitGroup
	for i := range 20 {
		calls.Go(func() {
			if _, _, err := AddUser(config, fmt.Sprint("user", i), discard); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if names := namesOf(t, config); len(names) != 20 {
		t.Errorf("%d users", len(names))
	}
}

// Nothing is made by what only shows.
func TestShowingMakesNoSecret(t *testing.T) {
	config := keptConfig(t)
	if _, _, err := Secrets(config, "", discard); !errors.Is(err, errNoSecret) {
		t.Error(err)
	}
	if _, _, err := Links(t.Context(), config, "", discard); !errors.Is(err, errNoSecret) {
		t.Error(err)
	}
	if secret, err := NewSecret(config); err != nil || secret.Domain != DefaultDomain {
		t.Error(secret, err)
	}
	if _, err := os.Stat(config.State); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// The links without a running service are those of one that listens.
func TestLinksDoNotNeedAService(t *testing.T) {
	for _, text := range []string{":18443", "0.0.0.0:18443", "127.0.0.1:18443", "localhost:18443"} {
		config := testConfig(t)
		config.Listen = []ListenAddress{{"unix", socketPath(t)}, unmarshal[ListenAddress](t, text)}
		links, notes, err := Links(t.Context(), config, "", discard)
		if err != nil || len(links) != 1 || links[0].Port != 18443 || len(notes) > 1 {
			t.Fatal(links, notes, err)
		}
		// The same address with a port that the system chooses: other tests may use 18443.
		config.Listen[1] = unmarshal[ListenAddress](t, strings.Replace(text, "18443", "0", 1))
		running, runningNotes := listening(t, config).Links(context.Background())
		if running[0].Server != links[0].Server || len(runningNotes) != len(notes) {
			t.Errorf("%s: %v, %q; while it listens %v, %q", text, links, notes, running, runningNotes)
		}
	}
	config := testConfig(t)
	if _, _, err := Links(t.Context(), config, "", discard); err == nil || !strings.Contains(err.Error(), "the port is not known") {
		t.Error(err)
	}
	config.Listen, config.Public = []ListenAddress{{"unix", "/s"}}, PublicAddress{Host: "proxy.example", Port: 443}
	if links, notes, err := Links(t.Context(), config, "", discard); err != nil || links[0].Addr() != "proxy.example:443" || len(notes) > 0 {
		t.Error(links, notes, err)
	}
}
