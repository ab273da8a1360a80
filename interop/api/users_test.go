package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
)

// ifMatch is the header with an entity tag.
func ifMatch(etag string) map[string]string { return map[string]string{"If-Match": etag} }

// tryUsers tries the operations of users, in b that has a store, and in plain that has
// none.
func (d *document) tryUsers(t *testing.T, b, plain *testbed) {
	t.Helper()
	d.tryCreate(t, b)
	d.tryChanges(t, b)
	d.tryUsage(t, b)

	// A user of the configuration is changed there, and one that there is not nowhere.
	for operation, body := range map[string]string{
		"replaceUser": `{}`, "patchUser": `{}`, "deleteUser": ``, "rotateSecret": `{}`,
	} {
		d.try(t, b, step{operation: operation, argument: "alice", body: body, status: 409})
		d.try(t, b, step{operation: operation, argument: "nobody", body: body, status: 404})
		d.try(t, b, step{operation: operation, argument: "bob", body: body, header: ifMatch(`"old"`), status: 412})
		d.try(t, plain, step{operation: operation, argument: "alice", body: body, status: 501})
		b.unavailable = true
		d.try(t, b, step{operation: operation, argument: "bob", body: body, status: 503})
		b.unavailable = false
		if body != "" {
			d.badBodies(t, b, operation, "bob")
		}
	}
	for _, operation := range []string{"getUser", "getUsage", "getHistory", "getSecrets", "getLinks", "resetUsage"} {
		d.try(t, b, step{operation: operation, argument: "nobody", status: 404})
	}
	for _, operation := range []string{"getHistory", "getLinks"} {
		b.unavailable = true
		d.try(t, b, step{operation: operation, argument: "bob", status: 503})
		b.unavailable = false
		d.try(t, plain, step{operation: operation, argument: "alice", status: 501})
	}
	d.try(t, b, step{operation: "getUsers", query: "?limit=0", status: 400})
	d.try(t, b, step{operation: "getUsers", query: "?colour=red", status: 400})
	d.try(t, plain, step{operation: "getUsers", status: 200})
	d.try(t, plain, step{operation: "getUser", argument: "alice", status: 200})
	d.try(t, plain, step{operation: "getUsage", argument: "alice", status: 200})
	d.try(t, plain, step{operation: "resetUsage", argument: "alice", status: 501})
	d.try(t, plain, step{operation: "createUser", body: `{"name": "carol"}`, status: 501})

	d.try(t, b, step{operation: "deleteUser", argument: "bob", status: 204})
	d.try(t, b, step{operation: "getUser", argument: "bob", status: 404})
}

// createdUser is what a test reads of a user.
type createdUser struct {
	Secrets        []string
	SecretCount    int `json:"secret_count"`
	Note           string
	Enabled        bool
	MaxConnections int   `json:"max_connections"`
	RateDown       int64 `json:"rate_down"`
	Expires        *time.Time
}

func parseUser(t *testing.T, body string) (u createdUser) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &u); err != nil {
		t.Fatal(err)
	}
	return u
}

// tryCreate adds users. Bob stays, and can connect.
func (d *document) tryCreate(t *testing.T, b *testbed) {
	t.Helper()
	body, _ := d.try(t, b, step{operation: "createUser", status: 201,
		body: `{"name": "bob", "note": "a friend", "max_connections": 3, "networks": ["127.0.0.1", "192.0.2.0/24"], "quota": 1000000, "quota_period": "month", "quota_day": 31, "time_zone": "Europe/Berlin", "rate_down": 1048576}`})
	bob := parseUser(t, body)
	if len(bob.Secrets) != 1 || bob.Note != "a friend" || !bob.Enabled {
		t.Fatal(body)
	}
	if err := b.ask(t, bob.Secrets[0]); err != nil {
		t.Errorf("the new user: %v", err)
	}
	const secret = "dd0123456789abcdef0123456789abcde0"
	d.try(t, b, step{operation: "createUser", body: `{"name": "carol", "secrets": ["` + secret + `"]}`, status: 201})
	for body, status := range map[string]int{
		`{"name": "bob"}`:   409,
		`{"name": "alice"}`: 409,
		`{"name": "dave", "secrets": ["` + secret + `"]}`: 409,
		`{}`:                                  422,
		`{"name": "a/b"}`:                     422,
		`{"name": "dave", "secrets": ["00"]}`: 422,
		`{"name": "dave", "quota_period": "year", "quota": 1}`:          422,
		`{"name": "dave", "networks": ["example.org"]}`:                 422,
		`{"name": "dave", "time_zone": "Nowhere"}`:                      422,
		`{"name": "dave", "max_connections": -1}`:                       422,
		`{"name": "dave", "address_window": "soon"}`:                    422,
		`{"name": "dave", "address_window": "-5s"}`:                     422,
		`{"name": "dave", "quota_period": "month"}`:                     422,
		`{"name": "dave", "networks": ["::ffff:10.0.0.0/104"]}`:         422,
		`{"name": "dave", "note": "\u0000"}`:                            422,
		`{"name": "dave", "rate_up": 1}`:                                422,
		`{"name": "dave", "note": "` + strings.Repeat("x", 1001) + `"}`: 422,
	} {
		answer, _ := d.try(t, b, step{operation: "createUser", body: body, status: status})
		if strings.Contains(answer, secret) {
			t.Error(answer)
		}
	}
	b.unavailable = true
	d.try(t, b, step{operation: "createUser", body: `{"name": "dave"}`, status: 503})
	b.unavailable = false
	d.badBodies(t, b, "createUser", "")
	d.try(t, b, step{operation: "deleteUser", argument: "carol", status: 204})
}

// tryChanges changes bob: a patch keeps the rest, a replacement does not, and both need
// the entity tag of what they change if they have one.
func (d *document) tryChanges(t *testing.T, b *testbed) {
	t.Helper()
	body, etag := d.try(t, b, step{operation: "getUser", argument: "bob", status: 200})
	if u := parseUser(t, body); len(u.Secrets) != 0 || u.SecretCount != 1 {
		t.Error(body)
	}
	d.try(t, b, step{operation: "getUser", argument: "bob", header: map[string]string{"If-None-Match": etag}, status: 304})
	body, second := d.try(t, b, step{operation: "patchUser", argument: "bob", header: ifMatch(etag), body: `{"enabled": false, "max_connections": null, "expires": "2030-01-01T00:00:00Z"}`, status: 200})
	if u := parseUser(t, body); u.Enabled || u.MaxConnections != 0 || u.Note != "a friend" || u.RateDown != 1<<20 || u.Expires == nil || second == etag {
		t.Error(body, second)
	}
	d.try(t, b, step{operation: "patchUser", argument: "bob", header: ifMatch(etag), body: `{"enabled": true}`, status: 412})
	d.try(t, b, step{operation: "patchUser", argument: "bob", body: `{"quota": -1}`, status: 422})
	d.try(t, b, step{operation: "patchUser", argument: "bob", body: `{"name": "robert"}`, status: 422})
	d.try(t, b, step{operation: "replaceUser", argument: "bob", body: `{"rate_up": 1}`, status: 422})
	before, _ := d.try(t, b, step{operation: "getSecrets", argument: "bob", status: 200})
	body, third := d.try(t, b, step{operation: "replaceUser", argument: "bob", header: ifMatch(second), body: `{"note": "again"}`, status: 200})
	if u := parseUser(t, body); !u.Enabled || u.Note != "again" || u.RateDown != 0 || u.Expires != nil {
		t.Error(body)
	}
	if after, _ := d.try(t, b, step{operation: "getSecrets", argument: "bob", status: 200}); after != before {
		t.Errorf("the secrets have changed: %s, %s", before, after)
	}
	// What was read can be sent back.
	body, _ = d.try(t, b, step{operation: "getUser", argument: "bob", status: 200})
	if _, etag := d.try(t, b, step{operation: "replaceUser", argument: "bob", body: body, status: 200}); etag != third {
		t.Error("it has changed")
	}
	old := parseUser(t, before).Secrets[0]
	body, _ = d.try(t, b, step{operation: "rotateSecret", argument: "bob", header: ifMatch(third), body: `{"grace_seconds": 3600}`, status: 200})
	kept := parseUser(t, body).Secrets
	if len(kept) != 1 || kept[0] == old || b.ask(t, kept[0]) != nil || b.ask(t, old) != nil {
		t.Error(body)
	}
	if body, _ := d.try(t, b, step{operation: "patchUser", argument: "bob", body: `{"note": "rotated"}`, status: 200}); b.ask(t, old) != nil {
		t.Errorf("a patch ends the grace period: %s", body)
	}
	if body, _ := d.try(t, b, step{operation: "getSecrets", argument: "bob", status: 200}); !strings.Contains(body, old) || !strings.Contains(body, kept[0]) {
		t.Error(body)
	}
	d.try(t, b, step{operation: "rotateSecret", argument: "bob", body: `{"grace_seconds": -1}`, status: 422})
	body, _ = d.try(t, b, step{operation: "rotateSecret", argument: "bob", body: `{}`, status: 200})
	rotated := parseUser(t, body).Secrets
	if len(rotated) != 1 || b.ask(t, rotated[0]) != nil || !b.refuses(t, kept[0]) {
		t.Error(body)
	}
}

func (d *document) tryUsage(t *testing.T, b *testbed) {
	t.Helper()
	var usage struct {
		Up, Down  int64
		QuotaUsed int64 `json:"quota_used"`
	}
	body, _ := d.try(t, b, step{operation: "getUsage", argument: "bob", status: 200})
	if err := json.Unmarshal([]byte(body), &usage); err != nil || usage.Up == 0 || usage.QuotaUsed == 0 {
		t.Error(body, err)
	}
	body, _ = d.try(t, b, step{operation: "resetUsage", argument: "bob", status: 200})
	if err := json.Unmarshal([]byte(body), &usage); err != nil || usage.Up == 0 || usage.QuotaUsed != 0 {
		t.Error(body, err)
	}
	for name, days := range map[string]string{"alice": "[]", "bob": `[{"day":"2026-11-28","up":1,"down":2}]`, "removed": `[{"day":"2026-11-28","up":1,"down":2}]`} {
		if body, _ = d.try(t, b, step{operation: "getHistory", argument: name, status: 200}); body != `{"days":`+days+"}\n" {
			t.Error(body)
		}
	}
	if body, _ = d.try(t, b, step{operation: "getLinks", argument: "bob", status: 200}); !strings.Contains(body, `"tg://proxy?server=192.0.2.1`) && !strings.Contains(body, `"https://t.me/proxy?`) {
		t.Error(body)
	}
	var page struct {
		Users []struct{ Name, Source string }
		Next  string
	}
	body, _ = d.try(t, b, step{operation: "getUsers", query: "?limit=1", status: 200})
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Users) != 1 || page.Users[0].Name != "alice" || page.Users[0].Source != "file" || page.Next != "alice" {
		t.Error(body, err)
	}
	page.Next = ""
	body, _ = d.try(t, b, step{operation: "getUsers", query: "?limit=1&after=alice", status: 200})
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Users) != 1 || page.Users[0].Name != "bob" || page.Users[0].Source != "store" || page.Next != "" {
		t.Error(body, err)
	}
}

// ask has a client with a secret ask for an answer, which it is to get, and returns why it gets
// none.
func (b *testbed) ask(t *testing.T, secret string) error {
	t.Helper()
	return b.askWithin(t, secret, time.Minute)
}

// refuses reports whether a client with a secret gets no answer.
func (b *testbed) refuses(t *testing.T, secret string) bool {
	t.Helper()
	return b.askWithin(t, secret, 2*time.Second) != nil
}

func (b *testbed) askWithin(t *testing.T, secret string, limit time.Duration) error {
	t.Helper()
	conn, err := mtwire.Dial(t.Context(), "tcp://"+b.address+"?dc=2&secret="+secret, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	return askOn(t, conn, limit)
}
