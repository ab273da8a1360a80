package service

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/mtwire/mtwire/internal/service/users"
)

// openStopped opens the store of a proxy with config. The test closes it.
func openStopped(t *testing.T, config Config) *Stopped {
	t.Helper()
	s, err := OpenStopped(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// do sends a request, which must succeed.
func do(t *testing.T, client *admin.Client, method, path string, body any) admin.Answer {
	t.Helper()
	answer, err := client.Do(t.Context(), method, path, body, "")
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer
}

// withKey is the body of a request for a user with the secret of keyed.
func withKey(name string, n byte) map[string]any {
	return map[string]any{"name": name, "secrets": []string{keyed(n).String()}}
}

// adding returns a change that adds users.
func adding(more ...users.User) func([]users.User) ([]users.User, error) {
	return func(list []users.User) ([]users.User, error) { return append(list, more...), nil }
}

// While a proxy runs, its store cannot be opened, and the other way round the proxy has
// the users that were added meanwhile as soon as it has the store.
func TestOneProcessChangesTheUsers(t *testing.T) {
	state := t.TempDir()
	setting := withUsers(state, fileUser("alice", 1, nil))
	config := testConfig(t)
	setting(&config)
	stopped := openStopped(t, config)
	r := run(t, setting)
	do(t, stopped.Client(), "POST", "/v1/users", withKey("bob", 2))
	if got := r.userNames(); got != "alice" {
		t.Fatal(got)
	}
	if err := stopped.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "the proxy has the users of the store", func() bool { // which its Run may not use yet
		if err := r.store.Flush(); err != nil { // as it does every three seconds
			t.Fatal(err)
		}
		r.followStore()
		return r.userNames() == "alice bob"
	})
	r.join(t, 2)
	if s, err := OpenStopped(config, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrRuns) {
		t.Errorf("%v, %v", s, err)
	}
	r.join(t, 1)
}

// What is changed while the proxy is stopped is what the next one has: users, and their
// usage.
func TestAStoppedProxyHasItsUsage(t *testing.T) {
	state := t.TempDir()
	setting := withUsers(state, fileUser("alice", 1, nil))
	r := run(t, setting)
	if err := r.updateForAdmin(adding(addedUser("bob", 2), addedUser("carol", 3))); err != nil {
		t.Fatal(err)
	}
	for n := byte(1); n <= 3; n++ {
		r.join(t, n).Close()
	}
	r.cancel()
	if err := r.result(t); err != nil {
		t.Fatal(err)
	}

	config := testConfig(t)
	setting(&config)
	stopped := openStopped(t, config)
	client := stopped.Client()
	usage := func(name string) admin.UserItem {
		t.Helper()
		item, _, _, err := client.User(t.Context(), name)
		if err != nil {
			t.Fatal(name, err)
		}
		return item
	}
	for _, name := range []string{"alice", "bob", "carol"} {
		if u := usage(name).Usage; u.Up == 0 || u.QuotaUsed == 0 || u.Seen == nil {
			t.Errorf("%s: %+v", name, u)
		}
	}
	if history := do(t, client, "GET", admin.UserPath("bob", "history"), nil); len(history.Document) < 30 {
		t.Errorf("%s", history.Document)
	}
	do(t, client, "POST", admin.UserPath("carol", "reset"), nil)
	do(t, client, "DELETE", admin.UserPath("bob"), nil)
	if _, err := client.Do(t.Context(), "DELETE", admin.UserPath("alice"), nil, ""); !admin.IsProblem(err, http.StatusConflict) {
		t.Error(err)
	}
	if err := stopped.Close(); err != nil {
		t.Fatal(err)
	}

	r = run(t, setting)
	if got := r.userNames(); got != "alice carol" {
		t.Error(got)
	}
	if _, u, _ := r.Users().Usage("carol"); u.Up == 0 || u.Used() != 0 {
		t.Errorf("%+v", u)
	}
	if err := r.updateForAdmin(adding(addedUser("bob", 2))); err != nil {
		t.Fatal(err)
	}
	if _, u, _ := r.Users().Usage("bob"); u.Up != 0 {
		t.Errorf("the usage of a removed user is still there: %+v", u)
	}
}

// Of two commands for a stopped proxy, the second one waits for the first.
func TestCommandsForAStoppedProxyWaitForEachOther(t *testing.T) {
	config := keptConfig(t)
	first := openStopped(t, config)
	type result struct {
		o   *Operator
		err error
	}
	connected := make(chan result, 1)
	go func() {
		o, err := Connect(t.Context(), Target{Config: config, Given: true}, slog.New(slog.DiscardHandler))
		connected <- result{o, err}
	}()
	do(t, first.Client(), "POST", "/v1/users", withKey("bob", 2))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := <-connected
	if second.err != nil {
		t.Fatal(second.err)
	}
	do(t, second.o.Client, "GET", admin.UserPath("bob"), nil)
	if err := second.o.Close(); err != nil {
		t.Error(err)
	}
}

// A state directory is not made by mistake, and its files belong to its owner.
func TestTheStoreOfAStoppedProxy(t *testing.T) {
	config := keptConfig(t)
	if _, err := Connect(t.Context(), Target{Config: config}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a directory was made")
	}
	if _, err := os.Stat(config.State); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	o, err := Connect(t.Context(), Target{Config: config, Given: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	do(t, o.Client, "POST", "/v1/users", withKey("bob", 2))
	if err := o.Close(); err != nil || o.Socket != "" || o.Directory != filepath.Join(config.State, storeDir) {
		t.Errorf("%+v, %v", o, err)
	}
	all, err := openStopped(t, config).Client().Users(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != "bob" {
		t.Errorf("%v, %v: the secret of a first run is not there yet", all, err)
	}
}
