package service

import (
	"slices"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/store"
	"github.com/mtwire/mtwire/internal/service/users"
)

// keepUsage writes counters to the store of a proxy that does not run.
func keepUsage(t *testing.T, c Config, counters ...users.Counter) {
	t.Helper()
	path, err := c.storePath()
	if err != nil {
		t.Fatal(err)
	}
	s := store.Open(path, store.Options{Log: discard})
	s.Begin(users.New(users.Config{Counters: counters}))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Links and secrets of users that are not served have notes that tell why: each cause once, and
// about the users that are asked for alone. They are the same of a proxy that runs, of one that
// does not, and of the API.
func TestLinksOfUsersThatAreNotServedHaveNotes(t *testing.T) {
	c := testConfig(t)
	c.Public = PublicAddress{Host: "proxy.example.org", Port: 443}
	disabled := func(u *config.User) { u.Enabled = false }
	withUsers(t.TempDir(),
		fileUser("alice", 1, nil),
		fileUser("bob", 2, disabled),
		fileUser("carol", 3, func(u *config.User) { u.Quota = 100 }),
		fileUser("dan", 4, func(u *config.User) { u.Expires = timeOf(time.Now().Add(-time.Hour)) }),
		fileUser("erin", 5, func(u *config.User) { u.Quota, u.Expires = 101, timeOf(time.Now().Add(time.Hour)) }),
	)(&c)
	usedBy := func(name string) users.Counter {
		return users.Counter{Name: name, Up: 60, Down: 40, Schedule: users.Once.String()}
	}
	keepUsage(t, c, usedBy("carol"), usedBy("erin"))
	ofBob := "user bob is disabled: its clients are not served"
	ofCarol := "user carol has used up its quota: its clients are not served"
	ofDan := "user dan has expired: its clients are not served"
	wants := map[string][]string{"": {ofBob, ofDan, ofCarol}, "alice": nil, "bob": {ofBob}, "carol": {ofCarol}, "dan": {ofDan}, "erin": nil}
	for name, want := range wants {
		secrets, notes, err := Secrets(c, name, discard)
		if err != nil || !slices.Equal(notes, want) || len(secrets) != 1 && name != "" {
			t.Errorf("secrets of %q: %v, %q, %v", name, secrets, notes, err)
		}
		links, notes, err := Links(t.Context(), c, name, discard)
		if err != nil || !slices.Equal(notes, want) || len(links) != len(secrets) {
			t.Errorf("links of %q: %v, %q, %v", name, links, notes, err)
		}
	}
	r := listening(t, c)
	if _, notes := r.Links(t.Context()); !slices.Equal(notes, wants[""]) {
		t.Errorf("links of a proxy that runs: %q", notes)
	}
	for name, want := range wants {
		if _, notes, err := r.linksOf(t.Context(), name); err != nil || !slices.Equal(notes, want) && name != "" {
			t.Errorf("links of %q in the API: %q, %v", name, notes, err)
		}
	}
}

func timeOf(at time.Time) config.Time { return config.Time{Time: at} }

// A note names a few of many users, and each once.
func TestNotesNameAFewOfManyUsers(t *testing.T) {
	policy := users.New(users.Config{})
	var names []string
	var list []users.User
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		list = append(list, users.User{Name: name, Limits: users.Limits{Disabled: true}})
		names = append(names, name, name) // with two secrets
	}
	policy.Set(list)
	for n, want := range map[int]string{
		2:  "user a is disabled: its clients are not served",
		4:  "users a, b are disabled: their clients are not served",
		10: "users a, b, c and 2 more are disabled: their clients are not served",
	} {
		if notes := noteStopped(policy, names[:n]); !slices.Equal(notes, []string{want}) {
			t.Errorf("%d: %q", n, notes)
		}
	}
}
