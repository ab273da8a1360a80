package admin

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
)

// FuzzUser: no body makes a user that the limits do not allow, and what is made is the
// same once it was read and sent back.
func FuzzUser(f *testing.F) {
	f.Add(`{"name": "bob", "max_connections": 3, "networks": ["127.0.0.1"], "quota": 1, "quota_period": "week", "quota_day": 7, "time_zone": "UTC"}`)
	f.Add(`{"name": "bob", "secrets": ["dd0123456789abcdef0123456789abcde0"], "expires": "2030-01-01T00:00:00Z", "address_window": "5m"}`)
	f.Add(`{"name": "../x", "rate_up": -1}`)
	f.Fuzz(func(t *testing.T, body string) {
		d := newUserDocument()
		if unmarshal([]byte(body), &d) != nil {
			return
		}
		u, err := d.user()
		if err != nil {
			return
		}
		if config.CheckName(u.Name) != nil || u.Check() != nil {
			t.Fatalf("%+v", u)
		}
		again := documentOfUser(&u)
		text, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		next := newUserDocument()
		if err := unmarshal(text, &next); err != nil {
			t.Fatal(err)
		}
		same, err := next.user()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if before, after := documentOfUser(&u), documentOfUser(&same); mustEtag(t, before) != mustEtag(t, after) {
			t.Errorf("%+v, %+v", before, after)
		}
	})
}

func mustEtag(t *testing.T, d userDocument) string {
	t.Helper()
	d.SecretCount = 0 // they are not read
	etag, err := etagOf(d)
	if err != nil {
		t.Fatal(err)
	}
	return etag
}

// A merge patch keeps what it does not have, and null is the default.
func TestPatch(t *testing.T) {
	before := newUserDocument()
	before.Name, before.Note, before.MaxConnections, before.Enabled = "bob", "a friend", 3, false
	after, err := before.patch(map[string]json.RawMessage{"max_connections": []byte("null"), "enabled": []byte("null"), "rate_up": []byte("2048")})
	if err != nil || after.MaxConnections != 0 || !after.Enabled || after.Note != "a friend" || after.RateUp != 2048 {
		t.Errorf("%+v, %v", after, err)
	}
	if _, err := before.patch(map[string]json.RawMessage{"colour": []byte(`"red"`)}); err == nil {
		t.Error("a key that there is not")
	}
}

// Errors of a body do not quote its values, which may be secrets.
func TestErrorsQuoteNoSecret(t *testing.T) {
	const secret = "dd0123456789abcdef0123456789abcde0"
	for _, body := range []string{
		`{"name": "bob", "secrets": "` + secret + `"}`, `{"name": "bob", "secrets": ["` + secret + `00"]}`, `{"name": 1, "secrets": ["` + secret + `"]}`,
		`["` + secret + `"]`, `"` + secret,
	} {
		r := httptest.NewRequest("POST", "/v1/users", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		d := newUserDocument()
		err := decode(r, &d)
		if err == nil {
			_, err = d.user()
		}
		if err == nil || strings.Contains(err.Error(), secret[2:12]) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// The entity tag of a user changes with its secrets, which are not in the document.
func TestEntityTagChangesWithTheSecrets(t *testing.T) {
	tag := func(key byte) string {
		etag, err := etagOfUser(&users.User{Name: "bob", Secrets: []mtproxy.Secret{{Mode: mtproxy.Plain, Key: [16]byte{key}}}})
		if err != nil {
			t.Fatal(err)
		}
		return etag
	}
	if first, again := tag(1), tag(1); first == tag(2) || first != again {
		t.Error(tag(1), tag(2))
	}
	for header, want := range map[string]bool{`"a"`: true, `"b", "a"`: true, `*`: true, `"b"`: false, `W/"a"`: false, ``: false} {
		if matches([]string{header}, `"a"`) != want {
			t.Error(header)
		}
	}
}

// An address window is answered as it was set. 0 is a window of its own, also that of a
// user of the configuration file, and no default.
func TestAddressWindow(t *testing.T) {
	for text, want := range map[string]string{"0s": "0s", "0": "0s", "5m": "5m0s", "": "10m0s", "10m": "10m0s"} {
		d := newUserDocument()
		d.Name, d.AddressWindow = "bob", text
		u, err := d.user()
		if err != nil {
			t.Fatal(text, err)
		}
		if got := documentOfUser(&u).AddressWindow; got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := documentOfUser(&users.User{Limits: users.Limits{AddressWindow: -1}}).AddressWindow; got != "0s" {
		t.Error("of the file:", got)
	}
	d := newUserDocument()
	d.Name, d.AddressWindow = "bob", "-5s"
	if _, err := d.user(); err == nil {
		t.Error("a negative window")
	}
}

// The API refuses what the configuration file does, and names the key.
func TestUsersAreCheckedAsInTheFile(t *testing.T) {
	for body, key := range map[string]string{
		`{"networks": ["::ffff:10.0.0.0/104"]}`:               "networks",
		`{"networks": ["192.0.2.1/24"]}`:                      "networks",
		`{"quota_period": "month"}`:                           "quota_period",
		`{"quota_period": "day", "quota": 1, "quota_day": 1}`: "quota_day",
		`{"note": "a\u0000b"}`:                                "note",
		`{"note": "\u001b[2J"}`:                               "note",
		`{"name": ".."}`:                                      "name",
		`{"name": "a/b"}`:                                     "name",
		`{"max_addresses": -1}`:                               "max_addresses",
		`{"quota": -1, "quota_period": "day"}`:                "quota",
	} {
		d := newUserDocument()
		d.Name = "bob"
		if err := unmarshal([]byte(body), &d); err != nil {
			t.Fatal(body, err)
		}
		if _, err := d.user(); err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%s: %v", body, err)
		}
	}
	d := newUserDocument()
	d.Name, d.Note, d.Networks = "bob", "two\nlines", []string{"::ffff:192.0.2.1", "192.0.2.0/24"}
	if u, err := d.user(); err != nil || u.Networks[0].String() != "192.0.2.1/32" {
		t.Error(u.Networks, err)
	}
}

// A PATCH is a merge patch, under its own media type or that of JSON.
func TestMediaTypesOfBodies(t *testing.T) {
	for _, c := range []struct {
		method, media string
		ok            bool
	}{
		{"PATCH", "application/merge-patch+json", true},
		{"PATCH", "application/json; charset=utf-8", true},
		{"PUT", "application/merge-patch+json", false},
		{"PATCH", "application/json-patch+json", false},
		{"POST", "", false},
	} {
		r := httptest.NewRequest(c.method, "/v1/users/bob", strings.NewReader("{}"))
		r.Header.Set("Content-Type", c.media)
		if err := decode(r, &struct{}{}); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
