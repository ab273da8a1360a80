package service

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
)

// A user of the store makes room for one of the configuration that has its name or its
// secret, at the start, at a reload and with --check, with a warning. It stays in the
// store: others are changed meanwhile, and it comes back, or is removed.
func TestTheConfigurationWinsOverTheStore(t *testing.T) {
	state := t.TempDir()
	setting := func(list ...config.User) Config {
		c := Default()
		withUsers(state, list...)(&c)
		return c
	}
	alone := fileUser("alice", 1, nil)
	both := []config.User{alone, fileUser("bob", 4, nil), fileUser("dan", 3, nil)}
	r := run(t, withUsers(state, alone))
	err := r.UpdateUsers(func([]users.User) ([]users.User, error) {
		return []users.User{addedUser("bob", 2), addedUser("carol", 3), addedUser("erin", 5)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	warned := func(log string) bool {
		lines := slices.DeleteFunc(strings.Split(log, "\n"), func(line string) bool { return !strings.Contains(line, "is left out") })
		return len(lines) == 2 && strings.Contains(lines[0], "has its name") && strings.Contains(lines[0], "user=bob configured=bob") && (!strings.Contains(lines[0], " at=") || strings.Contains(lines[0], `at="x.toml:7:1 user[1].name"`)) &&
			strings.Contains(lines[1], "has its secret") && strings.Contains(lines[1], "user=carol configured=dan")
	}
	reconfigure := func(names string, list ...config.User) {
		t.Helper()
		next := r.config
		next.Users, next.Position = list, func(key string) string { return "x.toml:7:1 " + key }
		if _, err := r.Reconfigure(next); err != nil {
			t.Fatal(err)
		}
		if got := r.userNames(); got != names {
			t.Error(got)
		}
	}
	bob, erin := r.join(t, 2), r.join(t, 5)
	reconfigure("alice bob dan erin", both...)
	ends(t, bob)
	receive(t, erin)
	r.join(t, 4)
	if log := r.log.String(); !warned(log) || !strings.Contains(log, `at="x.toml:7:1 user[1].name"`) || !strings.Contains(log, `at="x.toml:7:1 user[2].name"`) {
		t.Error(log)
	}
	reconfigure("alice bob carol erin", alone)
	r.join(t, 2)
	r.cancel()
	if err := r.result(t); err != nil {
		t.Fatal(err)
	}

	var checked bytes.Buffer
	if wrong := Check(setting(both...), slog.New(slog.NewTextHandler(&checked, nil))); len(wrong) > 0 || !warned(checked.String()) {
		t.Errorf("%v\n%s", wrong, checked.String())
	}
	r = run(t, withUsers(state, both...))
	r.join(t, 4)
	r.join(t, 3)
	if log := r.log.String(); !warned(log) {
		t.Error(log)
	}
	update := func(change func(list []users.User) []users.User) error {
		return r.UpdateUsers(func(list []users.User) ([]users.User, error) { return change(list), nil })
	}
	var taken *users.TakenError
	if err := update(func(list []users.User) []users.User { return append(list, addedUser("alice", 9)) }); !errors.As(err, &taken) {
		t.Errorf("a user with a configured name is added: %v", err)
	}
	if err := update(func(list []users.User) []users.User { list[2].Secrets = addedUser("", 1).Secrets; return list }); !errors.As(err, &taken) {
		t.Errorf("a user gets a configured secret: %v", err)
	}
	if err := update(func(list []users.User) []users.User { return append(list[1:], addedUser("fred", 6)) }); err != nil {
		t.Error(err)
	}
	r.join(t, 6)
	reconfigure("alice carol erin fred", alone)
	r.join(t, 3)
}

// A user of the store whose secret the modes of the configuration do not allow is left out,
// at the start, at a reload and with --check, with a warning. It can be removed, and comes back
// with the modes.
func TestModesThatDoNotAllowASecretOfTheStore(t *testing.T) {
	state := t.TempDir()
	setting := func(c *Config) {
		withUsers(state, fileUser("alice", 1, nil))(c)
		c.Modes = mtproxy.DD
	}
	r := run(t, withUsers(state, fileUser("alice", 1, nil)))
	faketls := users.User{Name: "bob", Secrets: []mtproxy.Secret{{Key: [16]byte{9}, Mode: mtproxy.FakeTLS, Domain: "a.example"}}}
	err := r.UpdateUsers(func([]users.User) ([]users.User, error) { return []users.User{faketls, addedUser("carol", 3)}, nil })
	if err != nil {
		t.Fatal(err)
	}
	warned := func(log string) bool {
		return strings.Count(log, "the modes do not allow its secret") == 1 && strings.Contains(log, "user=bob modes=dd")
	}
	reconfigure := func(modes mtproxy.Modes, names string) {
		t.Helper()
		next := r.config
		next.Modes = modes
		if _, err := r.Reconfigure(next); err != nil {
			t.Fatal(err)
		}
		if got := r.userNames(); got != names {
			t.Error(got)
		}
	}
	reconfigure(mtproxy.DD, "alice carol")
	if !warned(r.log.String()) {
		t.Error(r.log.String())
	}
	reconfigure(mtproxy.AllModes, "alice bob carol")
	r.cancel()
	if err := r.result(t); err != nil {
		t.Fatal(err)
	}
	var checked bytes.Buffer
	c := Default()
	setting(&c)
	if wrong := Check(c, slog.New(slog.NewTextHandler(&checked, nil))); len(wrong) > 0 || !warned(checked.String()) {
		t.Errorf("%v\n%s", wrong, checked.String())
	}
	r = run(t, setting)
	r.join(t, 3)
	if !warned(r.log.String()) || r.userNames() != "alice carol" {
		t.Error(r.log.String(), r.userNames())
	}
	err = r.UpdateUsers(func(list []users.User) ([]users.User, error) { return list[1:], nil })
	if list := r.store.Users(); err != nil || len(list) != 1 || list[0].Name != "carol" {
		t.Errorf("%v, %v", list, err)
	}
}

// If no user is left, the error at the start, at a reload and with --check names the modes and the
// users: there are secrets.
func TestModesThatLeaveNoUser(t *testing.T) {
	state := t.TempDir()
	r := run(t, withUsers(state, fileUser("alice", 1, nil)))
	err := r.UpdateUsers(func(list []users.User) ([]users.User, error) {
		for _, name := range []string{"bob", "carol", "dan", "erin"} {
			key := [16]byte{name[0]}
			list = append(list, users.User{Name: name, Secrets: []mtproxy.Secret{{Key: key, Mode: mtproxy.FakeTLS, Domain: "a.example"}}})
		}
		return list, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = "dd allows no secret of the users, all of which were added at run time: bob, carol, dan and 1 more; "
	fails := func(err error) {
		t.Helper()
		var setting *ConfigError
		if !errors.As(err, &setting) || setting.Setting != "modes" || !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
	next := r.config
	next.Users, next.Modes = nil, mtproxy.DD
	_, err = r.Reconfigure(next)
	fails(err)
	r.cancel()
	if err := r.result(t); err != nil {
		t.Fatal(err)
	}
	c := Default()
	withUsers(state)(&c)
	c.Modes = mtproxy.DD
	wrong := Check(c, slog.New(slog.DiscardHandler))
	if len(wrong) != 1 {
		t.Fatal(wrong)
	}
	fails(wrong[0])
	_, err = New(c, slog.New(slog.DiscardHandler))
	fails(err)
}
