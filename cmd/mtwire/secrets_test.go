package main

import (
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

// "base64 secrets may contain or end in '=' and names must not be confused
// with them."
func TestNamesAreToldFromPaddedBase64(t *testing.T) {
	spellings := []string{
		mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret,
		"AAECAwQFBgcICQoLDA0ODw==", // base64 of the plain one,
		"AAECAwQFBgcICQoLDA0ODw=",  // cut somewhat,
		"AAECAwQFBgcICQoLDA0ODw",   // and without padding
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
			name, secret, err := parseNamedSecret(text)
			if name != want || err != nil || secret != secretOf(t, spelling) {
				t.Errorf("%q: name %q, %v, %v", text, name, secret.Redacted(), err)
			}
		}
	}
}

// "Errors never show the secret": nor the name, which may be a part of one.
func TestBadSecretsAreErrorsThatShowNothing(t *testing.T) {
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
		"alice= " + mtwiretest.PlainSecret:                          "character ' '",
		mtwiretest.PlainSecret + "=alice":                           "bad secret",
		mtwiretest.PlainSecret + "=bob=" + mtwiretest.PlainSecret:   "character '='",
		"AAECAwQF=BgcICQoLDA0ODw":                                   "bad secret",
		"alice=" + mtwiretest.PaddedSecret + mtwiretest.PlainSecret: "first byte dd",
	} {
		name, secret, err := parseNamedSecret(text)
		if err == nil || name != "" || secret != (mtproxy.Secret{}) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v, %v", text, name, secret, err)
		}
		for _, part := range []string{"0001", "0e0f", "AAEC", "BgcI", "lice"} {
			if err != nil && strings.Contains(err.Error(), part) {
				t.Errorf("the error says too much: %v", err)
			}
		}
	}
}

func TestSecretsWithoutANameAreCalledByTheirPlace(t *testing.T) {
	secrets, err := parseNamedSecrets([]string{mtwiretest.PlainSecret, "alice=" + mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret})
	if err != nil || len(secrets) != 3 {
		t.Fatal(secrets, err)
	}
	for i, want := range []namedSecret{
		{"1", secretOf(t, mtwiretest.PlainSecret)}, {"alice", secretOf(t, mtwiretest.PaddedSecret)}, {"3", secretOf(t, mtwiretest.FakeTLSSecret)},
	} {
		if secrets[i] != want {
			t.Errorf("%d: %q, %v", i, secrets[i].name, secrets[i].secret.Redacted())
		}
	}
	if secrets, err := parseNamedSecrets(nil); len(secrets) != 0 || err != nil {
		t.Error(secrets, err)
	}
}

func TestEveryNameIsGivenOnce(t *testing.T) {
	a, b := mtwiretest.PlainSecret, mtwiretest.PaddedSecret
	for want, texts := range map[string][]string{
		`--secret: numbers 1 and 3 are both called "alice"`: {"alice=" + a, b, "alice=" + b},
		`--secret: numbers 1 and 2 are both called "2"`:     {"2=" + a, b},
		`--secret: numbers 1 and 2 are both called "1"`:     {a, "1=" + b},
		`--secret: number 2: bad secret: empty`:             {a, ""},
	} {
		if _, err := parseNamedSecrets(texts); err == nil || err.Error() != want {
			t.Errorf("%v", err)
		}
	}
}

// Whatever parses has a good name or none, and a secret that can be written.
func FuzzParseNamedSecret(f *testing.F) {
	for _, text := range []string{
		mtwiretest.PlainSecret, "alice=" + mtwiretest.FakeTLSSecret, "3QABAgMEBQYHCAkKCwwNDg8=", "a=AAECAwQFBgcICQoLDA0ODw==",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, secret, err := parseNamedSecret(text)
		if err != nil {
			return
		}
		if name != "" && (!goodName(name) || !strings.HasPrefix(text, name+"=")) {
			t.Fatalf("name %q", name)
		}
		if name == "" {
			name = "bob"
		}
		name2, secret2, err := parseNamedSecret(name + "=" + secret.String())
		if name2 != name || secret2 != secret || err != nil {
			t.Fatalf("it comes back as %q, %v, %v", name2, secret2, err)
		}
	})
}
