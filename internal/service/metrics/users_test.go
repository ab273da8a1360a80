package metrics

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
)

// The series of the users and that of the others are the sum of all users, and none of
// them decreases while users come, use the proxy, and are removed.
func TestOthersNeverDecrease(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		table := newUserTable(random.IntN(4))
		present := make(map[string]*proxy.UserStats)
		var gone, lastOthers proxy.UserStats
		last := make(map[string]proxy.UserStats)
		for range 60 {
			for range random.IntN(4) {
				name := fmt.Sprint("user", random.IntN(8))
				if u := present[name]; u != nil && random.IntN(4) == 0 {
					removed := *u
					removed.Open = 0
					add(&gone, removed, 1)
					delete(present, name)
					delete(last, name)
				} else {
					if u == nil {
						u = &proxy.UserStats{Name: name}
						present[name] = u
					}
					add(u, proxy.UserStats{Open: 1, Connections: 1, Up: 10, Down: 1000}, 1)
				}
			}
			var users []proxy.UserStats
			sum := gone
			for _, u := range present {
				users = append(users, *u)
				add(&sum, *u, 1)
			}
			own, others, any := table.update(users, gone)
			if len(own) > table.max {
				t.Fatalf("%d users of their own, and the limit is %d", len(own), table.max)
			}
			if !any && len(own) < len(users) {
				t.Fatal("users are missing")
			}
			if others.Up < lastOthers.Up || others.Down < lastOthers.Down || others.Connections < lastOthers.Connections || others.Open < 0 {
				t.Fatalf("seed %d: %+v after %+v", seed, others, lastOthers)
			}
			lastOthers = others
			open := others.Open
			for _, u := range own {
				if before := last[u.Name]; u.Down < before.Down {
					t.Fatalf("seed %d: %+v after %+v", seed, u, before)
				}
				last[u.Name] = u
				open += u.Open
			}
			if open != sum.Open {
				t.Fatalf("seed %d: %d open, and all have %d", seed, open, sum.Open)
			}
		}
	}
}

// A user that was removed and added again between two scrapes, with as many connections as
// before, leaves the others as they were: its bytes from before were in its own series.
func TestUsersAddedAgainAreNotAmongTheOthers(t *testing.T) {
	table := newUserTable(1)
	before := proxy.UserStats{Name: "alice", Connections: 1, Down: 1000}
	table.update([]proxy.UserStats{before}, proxy.UserStats{})
	_, others, _ := table.update([]proxy.UserStats{{Name: "alice", Connections: 1, Down: 10}}, before)
	if others.Down != 0 || others.Connections != 0 {
		t.Errorf("%+v", others)
	}
}

// A user whose name is that of the others, or is no text, has no series of its own.
func TestNamesThatAreNoLabelsAreOthers(t *testing.T) {
	table := newUserTable(10)
	own, others, any := table.update([]proxy.UserStats{
		{Name: othersName, Down: 1}, {Name: "\xff", Down: 2}, {Name: "alice", Down: 4},
	}, proxy.UserStats{})
	if len(own) != 1 || own[0].Name != "alice" || others.Down != 3 || !any {
		t.Errorf("%+v, %+v, %t", own, others, any)
	}
}

// A user's name is one label, whatever is in it: a program's own users may have any.
func TestNamesOfUsersAddNoLines(t *testing.T) {
	const name = "a\"} 1\nforged_total{x=\"y\\\n"
	m := start(t, Config{}, func(c *proxy.Config) {
		for i := range c.Users {
			c.Users[i].Name += name
		}
	})
	m.ask(t, mtwiretest.PlainSecret, "2")
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text := w.Body.String()
	if strings.Contains(text, "\nforged_total") || !strings.Contains(text, `{user="alicea\"} 1\nforged_total{x=\"y\\\n"} `) {
		t.Errorf("%s", text)
	}
}
