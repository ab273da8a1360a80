package service

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

func secretOf(t testing.TB, text string) mtproxy.Secret {
	secret, err := mtproxy.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// parseNamed is UnmarshalText.
func parseNamed(text string) (n NamedSecret, err error) {
	err = n.UnmarshalText([]byte(text))
	return n, err
}

// A secret in base64 may end in "=", which also separates the name.
func TestNamesAreDistinguishedFromPaddedBase64(t *testing.T) {
	spellings := []string{
		mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret,
		"AAECAwQFBgcICQoLDA0ODw==", // base64 of the plain one,
		"AAECAwQFBgcICQoLDA0ODw=",  // with less padding,
		"AAECAwQFBgcICQoLDA0ODw",   // and without
		"3QABAgMEBQYHCAkKCwwNDg8=", // the padded one
		"7gABAgMEBQYHCAkKCwwNDg9leGFtcGxlLmNvbQ==",
		"7gABAgMEBQYHCAkKCwwNDg9leGFtcGxlLmNvbQ",
	}
	for _, spelling := range spellings {
		for _, want := range []string{"", "a", "alice", "Alice.B_c-9", "dd", "ee", "1", strings.Repeat("n", 64)} {
			text := spelling
			if want != "" {
				text = want + "=" + spelling
			}
			n, err := parseNamed(text)
			if err != nil || n != (NamedSecret{want, secretOf(t, spelling)}) {
				t.Errorf("%q: %v, %v", text, n, err)
			}
		}
	}
}

// A secret may be in a link, and both as they were copied from a text.
func TestSecretsMayBePasted(t *testing.T) {
	const link = "server=proxy.example.com&port=443&secret=" + mtwiretest.PaddedSecret
	for text, name := range map[string]string{
		" " + mtwiretest.PaddedSecret + "\r\n":                 "",
		"<" + mtwiretest.PaddedSecret + ">":                    "",
		`"` + mtwiretest.PaddedSecret + `"`:                    "",
		"tg://proxy?" + link:                                   "",
		"https://t.me/proxy?" + link:                           "",
		"t.me/proxy?" + strings.ReplaceAll(link, "&", "&amp;"): "",
		" <tg://proxy?" + link + "> ":                          "",
		"alice = " + mtwiretest.PaddedSecret:                   "alice",
		"alice=tg://proxy?" + link:                             "alice",
		"'alice=t.me/proxy?" + link + "'":                      "alice",
		"alice=<tg://proxy?" + link + ">":                      "alice",
	} {
		n, err := parseNamed(text)
		if err != nil || n != (NamedSecret{name, secretOf(t, mtwiretest.PaddedSecret)}) {
			t.Errorf("%q: %v, %v", text, n, err)
		}
	}
}

// Errors quote neither the secret nor the name, which may be a part of a secret.
func TestErrorsOfBadSecretsQuoteNothing(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "bad secret: empty",
		"alice=":                           "bad secret",
		"alice==":                          "bad secret",
		"=" + mtwiretest.PlainSecret:       "bad name",
		"al ice=" + mtwiretest.PlainSecret: "bad name",
		"älice=" + mtwiretest.PlainSecret:  "bad name",
		strings.Repeat("n", 65) + "=" + mtwiretest.PlainSecret:      "bad name",
		"alice=" + mtwiretest.PlainSecret[:31]:                      "31 hexadecimal digits",
		"alice==" + mtwiretest.PlainSecret:                          "character '='",
		"alice= " + mtwiretest.PlainSecret + " x":                   "character ' '",
		"tg://proxy?server=h&port=1":                                "no secret",
		"tg://proxy?server=h&port=1&secret=0001":                    "bad secret",
		"alice=https://t.me/proxy?server=h&port=1&secret=0001":      "bad secret",
		"alice=tg://socks?server=h&port=1":                          "a SOCKS5 link",
		mtwiretest.PlainSecret + "=alice":                           "bad secret",
		mtwiretest.PlainSecret + "=bob=" + mtwiretest.PlainSecret:   "character '='",
		"AAECAwQF=BgcICQoLDA0ODw":                                   "bad secret",
		"alice=" + mtwiretest.PaddedSecret + mtwiretest.PlainSecret: "first byte dd",
	} {
		before := NamedSecret{"bob", secretOf(t, mtwiretest.PaddedSecret)}
		n := before
		err := n.UnmarshalText([]byte(text))
		if err == nil || n != before || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", text, n, err)
		}
		for _, part := range []string{"0001", "0e0f", "AAEC", "BgcI", "lice"} {
			if err != nil && strings.Contains(err.Error(), part) {
				t.Errorf("the error quotes the text: %v", err)
			}
		}
	}
}

// A secret has many ways into a log. None shows its key.
func TestNamedSecretsArePrintedWithoutTheKey(t *testing.T) {
	for text, want := range map[string]string{
		mtwiretest.PlainSecret:            "plain:[redacted]",
		"alice=" + mtwiretest.PlainSecret: "alice=plain:[redacted]",
	} {
		n, err := parseNamed(text)
		if err != nil {
			t.Fatal(err)
		}
		config := Config{Secrets: []NamedSecret{n}}
		asJSON, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
			slog.New(handler).Info("secret", "secret", n, "config", config)
		}
		for _, printed := range []string{n.String(), fmt.Sprintf("%v %+v", n, config), string(asJSON), log.String()} {
			if !strings.Contains(printed, want) || strings.Contains(printed, mtwiretest.PlainSecret[8:]) {
				t.Errorf("%s is printed as %s", want, printed)
			}
		}
	}
}

func TestUsersWithoutANameAreNamedByPosition(t *testing.T) {
	other := strings.Replace(mtwiretest.PaddedSecret, "00", "ff", 1) // another key
	var secrets []NamedSecret
	for _, text := range []string{mtwiretest.PlainSecret, "alice=" + other, mtwiretest.FakeTLSSecret} {
		n, err := parseNamed(text)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, n)
	}
	users, err := usersOf(secrets)
	if err != nil || len(users) != 3 {
		t.Fatal(users, err)
	}
	for i, want := range []NamedSecret{
		{"1", secretOf(t, mtwiretest.PlainSecret)}, {"alice", secretOf(t, other)}, {"3", secretOf(t, mtwiretest.FakeTLSSecret)},
	} {
		if users[i].Name != want.Name || !slices.Equal(users[i].Secrets, []mtproxy.Secret{want.Secret}) {
			t.Errorf("%d: %q, %v", i, users[i].Name, want)
		}
	}
	if secrets[0].Name != "" {
		t.Errorf("the configuration's secret is named %q", secrets[0].Name)
	}
	if users, err := usersOf(nil); len(users) != 0 || err != nil {
		t.Error(users, err)
	}
}

func TestNamesOfUsersAreUnique(t *testing.T) {
	a, b := secretOf(t, mtwiretest.PlainSecret), secretOf(t, mtwiretest.PaddedSecret)
	for want, secrets := range map[string][]NamedSecret{
		`secret: numbers 1 and 3 are both called "alice"`: {{"alice", a}, {"", b}, {"alice", b}},
		`secret: numbers 1 and 2 are both called "2"`:     {{"2", a}, {"", b}},
		`secret: numbers 1 and 2 are both called "1"`:     {{"", a}, {"1", b}},

		`secret: numbers 1 and 2 are the same secret: users "alice" and "2"`: {{"alice", a}, {"", b}},
	} {
		if _, err := usersOf(secrets); err == nil || err.Error() != want {
			t.Errorf("%v", err)
		}
	}
}

// A text that parses has a valid name or none, and a secret that parses again.
func FuzzNamedSecret(f *testing.F) {
	for _, text := range []string{
		mtwiretest.PlainSecret, "alice=" + mtwiretest.FakeTLSSecret, "3QABAgMEBQYHCAkKCwwNDg8=", "a=AAECAwQFBgcICQoLDA0ODw==",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseNamed(text)
		if err != nil {
			return
		}
		if n.Name != "" && (checkName(n.Name) != nil || !strings.HasPrefix(mtproxy.TrimPasted(text), n.Name)) {
			t.Fatalf("name %q", n.Name)
		}
		if n.Name == "" {
			n.Name = "bob"
		}
		if again, err := parseNamed(n.Name + "=" + n.Secret.String()); again != n || err != nil {
			t.Fatalf("it is parsed again as %v, %v", again, err)
		}
	})
}
