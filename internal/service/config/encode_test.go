package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
)

// What Encode writes decodes to the same value, if it has no secrets.
func TestEncodedValuesDecodeToTheSame(t *testing.T) {
	in := schema{Listen: []string{":443", "quote \" \\ \n\x01 \u00e9"}, Timeout: 90 * time.Minute, Count: -3, Part: 2, Rate: 10 << 20}
	in.Users = []User{{Name: "alice", Quota: 5e9, Note: "a\tnote", TimeZone: "Europe/Berlin", QuotaPeriod: Week, QuotaDay: 7}, {Name: "bob", Enabled: true}}
	in.Log.Level = "debug"
	if err := in.Users[0].Expires.UnmarshalText([]byte("2027-01-31")); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := Encode(&text, in, func(key string) string { return "of " + key }); err != nil {
		t.Fatal(err)
	}
	out := schema{On: true, Listen: []string{"x"}}
	if _, err := Decode("x", []byte(text.String()), &out); err != nil {
		t.Fatalf("%v in\n%s", err, text.String())
	}
	if !reflect.DeepEqual(in, out) {
		t.Errorf("%+v\nis encoded as\n%s\nand decoded to\n%+v", in, text.String(), out)
	}
}

// No key of a secret is in what Encode writes.
func TestSecretsAreNotEncoded(t *testing.T) {
	secret, err := mtproxy.ParseSecret("dd000102030405060708090a0b0c0d0e0f")
	if err != nil {
		t.Fatal(err)
	}
	in := schema{Users: []User{{Name: "alice", Secret: Secret{secret}, Secrets: []Secret{{secret}}}}}
	var text strings.Builder
	if err := Encode(&text, in, func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	got := text.String()
	if strings.Contains(got, "0001") || !strings.Contains(got, "\nsecret = \"padded:[redacted]\"\n") || !strings.Contains(got, "\nsecrets = [\"padded:[redacted]\"]\n") {
		t.Errorf("%s", got)
	}
	var wrong *Errors
	if _, err := Decode("x", []byte(got), new(schema)); !errors.As(err, &wrong) || len(wrong.All) != 2 ||
		!errors.Is(wrong.All[0], ErrPlaceholder) || !errors.Is(wrong.All[1], ErrPlaceholder) {
		t.Errorf("%v in\n%s", err, got)
	}
}
