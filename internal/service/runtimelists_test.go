package service

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/mtwiretest"
)

// changeBlocked sends a request for the networks that are blocked at run time to the
// default admin socket in state, and returns the status and the body.
func changeBlocked(t *testing.T, state, method, query, body string) (int, string) {
	t.Helper()
	return changeList(t, state, "block", method, query, body)
}

// changeList is changeBlocked for either list.
func changeList(t *testing.T, state, list, method, query, body string) (int, string) {
	t.Helper()
	return requestAdmin(t, filepath.Join(state, adminSocket), method, "lists/"+list+query, body)
}

// refused reports whether the next client of r is refused for its address, and not
// answered.
func (r *running) refused(t *testing.T) bool {
	t.Helper()
	count := func() int64 { return r.Access().Blocked + r.Access().NotAllowed }
	before := count()
	conn, err := mtwire.Dial(t.Context(), linksOf(r.Service)[0].String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Send(t.Context(), mtwiretest.AppendReqPQ(nil, [16]byte{}, nil)); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Receive(t.Context())
		answered <- err
	}()
	for end := time.Now().Add(20 * time.Second); count() == before; {
		select {
		case err := <-answered:
			if err != nil && count() == before {
				t.Fatal(err)
			}
			return err != nil
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatal("the client is neither refused nor answered")
		}
	}
	return true
}

// A network that an operator blocks is refused from the next connection on, also after a
// reload of the files and after a restart, until it is removed. Sessions go on.
func TestNetworksAreBlockedAtRunTime(t *testing.T) {
	state, block := t.TempDir(), filepath.Join(t.TempDir(), "block")
	if err := os.WriteFile(block, []byte("192.0.2.0/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	change := func(c *Config) {
		c.State, c.Block, c.Admin = state, []config.Path{config.Path(block)}, []AdminAddress{{Network: "unix"}}
	}
	r := run(t, change)
	live := r.connect(t)
	if status, body := changeBlocked(t, state, "POST", "", `{"networks": ["127.0.0.0/8", "::1"]}`); status != 200 || !strings.Contains(body, `"ipv4_addresses":16777216`) {
		t.Fatal(status, body)
	}
	check := func(when string, r *running, refused bool, added int) {
		t.Helper()
		if got, counts := r.refused(t), r.Access(); got != refused || counts.BlockAdded != added || counts.Block != 1 {
			t.Errorf("%s: refused %t, %+v", when, got, counts)
		}
	}
	check("blocked", r, true, 2)
	receive(t, live)
	if reloaded, err := r.Reload(); !reloaded || err != nil {
		t.Fatal(reloaded, err)
	}
	check("reloaded", r, true, 2)
	if _, body := askAdmin(t, AdminAddress{"unix", filepath.Join(state, adminSocket)}, "/v1/lists"); !strings.Contains(body, `"block":1,"allow_added":0,"block_added":2`) {
		t.Error(body)
	}
	receive(t, live)
	r.Close()
	if err := r.result(t); err != nil {
		t.Fatal(err)
	}
	r = run(t, change)
	check("begun again", r, true, 2)
	if status, body := changeBlocked(t, state, "DELETE", "?network=127.0.0.0/8", ""); status != 200 || !strings.Contains(body, `["::1/128"]`) {
		t.Error(status, body)
	}
	check("removed", r, false, 1)
	if status, _ := changeBlocked(t, state, "PUT", "", `{"networks": ["127.0.0.1"]}`); status != 200 {
		t.Error(status)
	}
	check("replaced", r, true, 1)
}

// An operator allows networks in the same way. The first one excludes the others, and those
// of a file count beside it.
func TestNetworksAreAllowedAtRunTime(t *testing.T) {
	state, allow := t.TempDir(), filepath.Join(t.TempDir(), "allow")
	if err := os.WriteFile(allow, []byte("198.51.100.0/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, func(c *Config) { c.State, c.Admin = state, []AdminAddress{{Network: "unix"}} })
	set := func(method, query, body string) {
		t.Helper()
		if status, answer := changeList(t, state, "allow", method, query, body); status != 200 {
			t.Fatal(status, answer)
		}
	}
	check := func(when string, r *running, refused bool, files, added int) {
		t.Helper()
		if got, counts := r.refused(t), r.Access(); got != refused || counts.AllowAdded != added || counts.Allow != files {
			t.Errorf("%s: refused %t, %+v", when, got, counts)
		}
	}
	live := r.connect(t)
	set("POST", "", `{"networks": ["192.0.2.0/24"]}`)
	check("another network is allowed", r, true, -1, 1)
	receive(t, live)
	set("POST", "", `{"networks": ["127.0.0.1", "::1"]}`)
	check("the client's is allowed, too", r, false, -1, 3)
	r.Close()
	if err := r.result(t); err != nil {
		t.Fatal(err)
	}
	r = run(t, func(c *Config) {
		c.State, c.Admin, c.Allow = state, []AdminAddress{{Network: "unix"}}, []config.Path{config.Path(allow)}
	})
	check("begun again, beside a file", r, false, 1, 3)
	set("DELETE", "?network=127.0.0.1", "")
	set("DELETE", "?network=::1", "")
	check("removed", r, true, 1, 1)
}

// Without a state directory the lists work in memory, and the answers tell that they are not
// kept.
func TestListsWorkWithoutAStore(t *testing.T) {
	for _, variable := range []string{"STATE_DIRECTORY", "XDG_STATE_HOME", "HOME", "LOCALAPPDATA"} {
		t.Setenv(variable, "")
	}
	dir := t.TempDir()
	r := run(t, func(c *Config) { c.State, c.Admin = "", []AdminAddress{{"unix", filepath.Join(dir, adminSocket)}} })
	if r.Store() != nil {
		t.Fatal("there is a store")
	}
	status, body := changeBlocked(t, dir, "POST", "", `{"networks": ["127.0.0.0/8", "::1"]}`)
	if status != 200 || !strings.Contains(body, `"not_stored":"`) {
		t.Fatal(status, body)
	}
	if !r.refused(t) {
		t.Error("the client is not refused")
	}
	if status, again := changeBlocked(t, dir, "GET", "", ""); status != 200 || again != body {
		t.Error(status, again)
	}
	if status, body := changeBlocked(t, dir, "PUT", "", `{"networks": []}`); status != 200 || r.refused(t) {
		t.Error(status, body)
	}
}
