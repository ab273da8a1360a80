package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/store"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// keyed returns a secret that differs for each n.
func keyed(n byte) mtproxy.Secret {
	return mtproxy.Secret{Mode: mtproxy.Padded, Key: [16]byte{n, 1, 2, 3}}
}

// fileUser returns a user of the configuration file.
func fileUser(name string, n byte, limit func(*config.User)) config.User {
	u := config.User{Name: name, Secret: config.Secret{Secret: keyed(n)}}
	u.SetDefaults()
	if limit != nil {
		limit(&u)
	}
	return u
}

// addedUser returns a user that is added at run time.
func addedUser(name string, n byte) users.User {
	return users.User{Name: name, Secrets: []mtproxy.Secret{keyed(n)}}
}

// withUsers makes a configuration with users, whose unauthenticated clients get no
// answer.
func withUsers(state string, list ...config.User) func(*Config) {
	return func(c *Config) { c.State, c.Secrets, c.Fronts, c.Users = state, nil, nil, list }
}

// join connects a client with a secret, which receives resPQ.
func (r *running) join(t *testing.T, n byte) *mtwire.Conn {
	t.Helper()
	conn := r.dial(t, n)
	receive(t, conn)
	return conn
}

func (r *running) dial(t *testing.T, n byte) *mtwire.Conn {
	t.Helper()
	conn, err := mtwire.Dial(t.Context(), fmt.Sprintf("tcp://%v?secret=%v&dc=2", r.Addresses()[0], keyed(n)), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// refuses connects a client that must be refused for that cause.
func (r *running) refuses(t *testing.T, name string, n byte, cause users.Cause) {
	t.Helper()
	_, before, _ := r.Users().Usage(name)
	r.dial(t, n).Send(t.Context(), make([]byte, 40))
	within(t, fmt.Sprintf("%s is refused: %v", name, cause), func() bool {
		_, usage, _ := r.Users().Usage(name)
		return usage.Refused[cause] == before.Refused[cause]+1
	})
}

func within(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// ends waits for the proxy to close a client's connection.
func ends(t *testing.T, conn *mtwire.Conn) {
	t.Helper()
	if p, err := conn.Receive(t.Context()); err == nil {
		t.Errorf("the connection goes on: %v", p)
	}
}

// The limits of the configuration hold, their refusals are logged, and the usage is there
// after a restart.
func TestLimitsOfTheConfigurationHold(t *testing.T) {
	state := t.TempDir()
	list := []config.User{
		fileUser("alice", 1, func(u *config.User) { u.MaxConnections, u.Note = 1, "a note" }),
		fileUser("bob", 2, func(u *config.User) { u.Enabled = false }),
		fileUser("carol", 3, func(u *config.User) { u.Expires = config.Time{Time: time.Now().Add(-time.Minute)} }),
		fileUser("dan", 4, func(u *config.User) { u.Quota, u.QuotaPeriod = 5000, config.Month }),
		fileUser("erin", 5, func(u *config.User) { u.RateUp, u.RateDown = 1<<20, 1<<20 }),
	}
	r := run(t, withUsers(state, list...))
	first := r.join(t, 1)
	r.refuses(t, "alice", 1, users.OverConnections)
	r.refuses(t, "bob", 2, users.Disabled)
	r.refuses(t, "carol", 3, users.Expired)
	r.join(t, 5)
	first.Close()
	within(t, "the first connection ends", func() bool { _, usage, _ := r.Users().Usage("alice"); return usage.Connections == 0 })
	r.join(t, 1)
	if log := r.log.String(); !strings.Contains(log, `msg="clients are refused" user=bob cause=disabled`) {
		t.Error(log)
	}
	conn := r.join(t, 4)
	for {
		if conn.Send(t.Context(), make([]byte, 1000)) != nil {
			break
		}
		if _, usage, _ := r.Users().Usage("dan"); usage.Used() >= 5000 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	ends(t, conn)
	r.refuses(t, "dan", 4, users.OverQuota)
	r.cancel()
	if err := r.result(t); err != nil {
		t.Fatal(err)
	}
	_, before, _ := r.Users().Usage("dan")

	r = run(t, withUsers(state, list...))
	def, usage, ok := r.Users().Usage("dan")
	if !ok || usage.Used() != before.Used() || usage.Used() < 5000 || def.Source != users.File {
		t.Errorf("%+v after a restart, %+v before", usage, before)
	}
	r.refuses(t, "dan", 4, users.OverQuota)
	if def, usage, _ := r.Users().Usage("alice"); usage.Up == 0 || usage.Down == 0 || def.Note != "a note" {
		t.Errorf("%+v", usage)
	}
	history, err := r.History("alice")
	var up int64
	for _, day := range history {
		up += day.Records[0].Up
	}
	if _, usage, _ := r.Users().Usage("alice"); err != nil || up == 0 || up != usage.Up {
		t.Errorf("%+v, %v: the usage is %+v", history, err, usage)
	}
	if _, err := new(Service).History("alice"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without a state directory: %v", err)
	}
}

// Users are added, changed and removed at run time, outlive a restart, and are listed
// with their source. A removal closes the user's sessions and no others. A name or secret
// that is taken, a bad name, and a secret that the proxy cannot use change nothing.
func TestUsersAreUpdatedAtRunTime(t *testing.T) {
	state := t.TempDir()
	r := run(t, func(c *Config) {
		withUsers(state, fileUser("alice", 1, nil))(c)
		c.Modes = mtproxy.DD
	})
	add := func(list ...users.User) error {
		return r.UpdateUsers(func(all []users.User) ([]users.User, error) { return append(all, list...), nil })
	}
	alice := r.join(t, 1)
	if err := add(addedUser("bob", 2), addedUser("carol", 3)); err != nil {
		t.Fatal(err)
	}
	bob, carol := r.join(t, 2), r.join(t, 3)
	if def, _, ok := r.Users().Usage("bob"); !ok || def.Source != users.Store {
		t.Errorf("%+v", def)
	}
	for _, bad := range []users.User{
		addedUser("alice", 9), addedUser("dan", 1), addedUser("b/d", 9), addedUser("bob", 9),
		{Name: "erin", Limits: users.Limits{RateUp: 1}}, {Name: "fred", Secrets: []mtproxy.Secret{{Key: [16]byte{9}}}}, {Name: "gil", Secrets: []mtproxy.Secret{{Key: [16]byte{9}, Mode: mtproxy.FakeTLS, Domain: "a.example"}}},
	} {
		if err := add(bad); err == nil {
			t.Errorf("%s is added", bad.Name)
		}
	}
	var taken *users.TakenError
	if err := add(addedUser("alice", 9)); !errors.As(err, &taken) || taken.Other.Source != users.File {
		t.Error(err)
	}
	err := r.UpdateUsers(func(all []users.User) ([]users.User, error) {
		all[1].Disabled = true
		return all[1:], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ends(t, bob)   // removed
	ends(t, carol) // disabled
	receive(t, alice)
	if names := r.userNames(); names != "alice carol" {
		t.Error(names)
	}
	r.cancel()
	if err := r.result(t); err != nil {
		t.Fatal(err)
	}
	r = run(t, withUsers(state, fileUser("alice", 1, nil)))
	r.refuses(t, "carol", 3, users.Disabled)
	r.join(t, 1)
}

// A store whose files are damaged, and one that cannot be made, do not keep the proxy
// from starting; both are logged.
func TestTheProxyStartsWithoutItsStore(t *testing.T) {
	damaged := t.TempDir()
	if err := os.Mkdir(filepath.Join(damaged, storeDir), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"usage", "users"} {
		if err := os.WriteFile(filepath.Join(damaged, storeDir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	blocked := t.TempDir()
	if err := os.WriteFile(filepath.Join(blocked, storeDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for state, want := range map[string]string{damaged: "set aside", blocked: "the store is not written"} {
		r := run(t, withUsers(state, fileUser("alice", 1, nil)))
		r.join(t, 1)
		if log := r.log.String(); !strings.Contains(log, want) {
			t.Error(log)
		}
		err := r.UpdateUsers(func(all []users.User) ([]users.User, error) { return append(all, addedUser("bob", 2)), nil })
		if status := r.Store().Status(); (state == blocked) != errors.Is(err, store.ErrUnavailable) || (state == blocked) != (status.Err != nil) {
			t.Errorf("%v, %+v", err, status)
		}
	}
}

// A secret that was replaced serves clients until its time is over. Then its sessions are
// closed, and those of the new secret stay.
func TestAReplacedSecretServesForItsTime(t *testing.T) {
	r := run(t, withUsers(t.TempDir(), fileUser("alice", 1, nil)))
	bob := addedUser("bob", 2)
	if err := r.UpdateUsers(func([]users.User) ([]users.User, error) { return []users.User{bob}, nil }); err != nil {
		t.Fatal(err)
	}
	before := r.join(t, 2)
	start := time.Now()
	until := start.Add(time.Hour)
	rotate := func(until time.Time) {
		t.Helper()
		err := r.UpdateUsers(func(list []users.User) ([]users.User, error) {
			list[0] = bob
			list[0].Rotate(keyed(3), start, until)
			return list, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	rotate(until)
	now := r.join(t, 3)
	r.join(t, 2)
	receive(t, before)
	until = time.Now().Add(time.Millisecond)
	rotate(until)
	for !time.Now().After(until) {
	}
	r.changeSecrets()
	ends(t, before)
	receive(t, now)

	// The clock was ahead when the users were made, and is set back.
	rotate(time.Now().Add(time.Hour))
	ahead := time.Now().Add(2 * time.Hour)
	r.reloading.Lock()
	r.secretsAt = ahead
	err := r.proxy.SetUsers([]proxy.User{{Name: bob.Name, Secrets: r.limited[len(r.limited)-1].SecretsAt(ahead)}})
	r.reloading.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	r.changeSecrets()
	r.join(t, 2)
}
