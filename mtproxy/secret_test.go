package mtproxy

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
)

// countingKey is 00 01 .. 0f.
var countingKey = [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

const countingHex = "000102030405060708090a0b0c0d0e0f"

var secretSamples = []struct {
	secret         Secret
	hex, base64URL string
}{
	{Secret{Mode: Plain, Key: countingKey}, countingHex, "AAECAwQFBgcICQoLDA0ODw"},
	{Secret{Mode: Padded, Key: countingKey}, "dd" + countingHex, "3QABAgMEBQYHCAkKCwwNDg8"},
	{Secret{Mode: FakeTLS, Key: countingKey, Domain: "example.com"},
		"ee" + countingHex + "6578616d706c652e636f6d", "7gABAgMEBQYHCAkKCwwNDg9leGFtcGxlLmNvbQ"},
	// Bytes that need the two characters by which base64 and base64url differ.
	{Secret{Mode: Plain, Key: [16]byte{0xfb, 0xff, 0xbf, 0xfb, 0xff, 0xbf, 0xfb, 0xff, 0xbf, 0xfb, 0xff, 0xbf, 0xfb, 0xff, 0xbf, 0xff}},
		"fbffbffbffbffbffbffbffbffbffbfff", "-_-_-_-_-_-_-_-_-_-__w"},
}

// Hexadecimal in upper and lower case, base64 and base64url, with and without
// "=".
func TestEverySpellingOfASecretIsTheSameSecret(t *testing.T) {
	for _, c := range secretSamples {
		if got := c.secret.String(); got != c.hex {
			t.Errorf("String %s, want %s", got, c.hex)
		}
		if got := c.secret.Base64URL(); got != c.base64URL {
			t.Errorf("Base64URL %s, want %s", got, c.base64URL)
		}
		b := c.secret.Bytes()
		for _, text := range []string{
			c.hex, strings.ToUpper(c.hex),
			c.base64URL, base64.URLEncoding.EncodeToString(b),
			base64.StdEncoding.EncodeToString(b), base64.RawStdEncoding.EncodeToString(b),
		} {
			if got, err := ParseSecret(text); err != nil || got != c.secret {
				t.Errorf("ParseSecret(%q) = %#v, %v; want %#v", text, got, err, c.secret)
			}
		}
		if got, err := ParseSecretBytes(b); err != nil || got != c.secret {
			t.Errorf("ParseSecretBytes(%x) = %#v, %v", b, got, err)
		}
	}
}

// Base64 text that begins with "dd" or "ee" is a plain secret, and so is a key of
// 16 bytes that begins with the byte dd or ee.
func TestModeIsDecidedByTheFirstByteAfterDecoding(t *testing.T) {
	for _, text := range []string{
		"ddECAwQFBgcICQoLDA0ODw",
		"eeECAwQFBgcICQoLDA0ODw",
		"EEECAwQFBgcICQoLDA0ODw",
		"dd0102030405060708090a0b0c0d0e0f",
		"ee0102030405060708090a0b0c0d0e0f",
		"3QECAwQFBgcICQoLDA0ODw",
		// 22 hexadecimal digits are 11 bytes, no secret; as base64 they are 16.
		"dd01020304050607080900",
	} {
		s, err := ParseSecret(text)
		if err != nil || s.Mode != Plain {
			t.Errorf("ParseSecret(%q): mode %v, %v; want plain", text, s.Mode, err)
		}
	}
}

// Some clients cut a secret that has none of the three forms, or ignore its first
// byte. ParseSecret refuses it, and the error names the fault.
func TestParseSecretNamesTheFault(t *testing.T) {
	ee := "ee" + countingHex
	for _, c := range []struct{ text, want string }{
		{"", "empty"},
		{"=", "0 bytes"},
		{countingHex[:30], "30 hexadecimal digits"},
		{countingHex + "0", "33 hexadecimal digits"},
		{"AAECAwQFBgcICQoLDA0O", "15 bytes, want at least 16"},
		{"AAECAwQFBgcICQoLDA0ODwz/=z", "character '=' at offset 24"},
		{"AAECAwQFBgcICQoLDA0ODw===", "character '=' at offset 22"},
		{countingHex + "\n", `character '\n' at offset 32`},
		{" " + countingHex, "character ' ' at offset 0"},
		{"AAECAwQFBgcI\r\nCQoLDA0ODw", `character '\r' at offset 12`},
		{countingHex[:31] + "ж", "character 'ж' at offset 31"},
		{"AAECAwQFBgcICQoLDA-+", "mixed"},
		{"AAECAwQFBgcICQoLDA0ODwxyz", "25 base64 characters"},
		{"ef" + countingHex, "17 bytes with first byte ef"},
		{"70dd" + countingHex, "18 bytes with first byte 70"},
		{"dd" + countingHex + "00", "18 bytes with first byte dd, want exactly 17"},
		{ee, "needs a domain"},
		{ee + hex.EncodeToString([]byte("a b")), `' ' at offset 1 of the domain`},
		{ee + hex.EncodeToString([]byte("host:443")), `':' at offset 4 of the domain`},
		{ee + hex.EncodeToString([]byte("дом.рф")), "byte d0 at offset 0 of the domain is not ASCII"},
		{ee + strings.Repeat("61", 183), "183 bytes, TDLib clients accept at most 182"},
	} {
		s, err := ParseSecret(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseSecret(%q): error %v, want %q in it", c.text, err, c.want)
		}
		if s != (Secret{}) {
			t.Errorf("ParseSecret(%q) returned a secret beside its error", c.text)
		}
	}
	if _, err := ParseSecret(ee + strings.Repeat("61", 182)); err != nil {
		t.Errorf("a domain of 182 bytes: %v", err)
	}
}

// A mistyped secret still contains most of the key, and errors end in logs.
func TestSecretErrorsDoNotQuoteTheKey(t *testing.T) {
	for _, text := range []string{
		countingHex + "x", countingHex + "00", "dd" + countingHex + "00", "ee" + countingHex,
		"ee" + countingHex + "20", "AAECAwQFBgcICQoLDA0ODw!", countingHex + " ",
	} {
		_, err := ParseSecret(text)
		if err == nil {
			t.Errorf("ParseSecret(%q) succeeded", text)
			continue
		}
		for i := 0; i+4 <= len(text); i++ {
			if strings.Contains(err.Error(), text[i:i+4]) {
				t.Errorf("error %q quotes %q", err, text[i:i+4])
			}
		}
	}
}

// Both handlers redact a secret, alone and in a group.
func TestLoggedSecretHasNoKey(t *testing.T) {
	s := secretSamples[2].secret
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("client", "secret", s, slog.Group("user", "secret", s))
	}
	if strings.Contains(out.String(), countingHex[:8]) {
		t.Errorf("the key is in the log: %s", out.String())
	}
	if n := strings.Count(out.String(), "faketls:[redacted]:example.com"); n != 4 {
		t.Errorf("redacted form %d times, want 4: %s", n, out.String())
	}
	for _, c := range []struct {
		s    Secret
		want string
	}{
		{Secret{}, "none"},
		{secretSamples[0].secret, "plain:[redacted]"},
		{secretSamples[1].secret, "padded:[redacted]"},
	} {
		if got := c.s.Redacted(); got != c.want {
			t.Errorf("Redacted %q, want %q", got, c.want)
		}
	}
}

// Every fresh secret differs from the ones before.
func TestNewSecretReadsBack(t *testing.T) {
	seen := make(map[Secret]bool)
	for _, c := range []struct {
		mode   Mode
		domain string
	}{{Plain, ""}, {Padded, ""}, {FakeTLS, "www.example.com"}, {Plain, ""}} {
		for _, random := range []io.Reader{nil, rand.Reader} {
			s, err := NewSecret(random, c.mode, c.domain)
			if err != nil {
				t.Fatal(err)
			}
			if s.Mode != c.mode || s.Domain != c.domain || seen[s] {
				t.Errorf("NewSecret(%v, %q) = %#v", c.mode, c.domain, s)
			}
			seen[s] = true
			if back, err := ParseSecret(s.String()); err != nil || back != s {
				t.Errorf("%v secret does not read back: %v", c.mode, err)
			}
		}
	}
}

// Some clients remove the digits "dd" or "ee" from the front of any secret.
func TestFreshKeysDoNotLookLikeAPrefix(t *testing.T) {
	for _, first := range []byte{0xdd, 0xee} {
		s, err := NewSecret(bytes.NewReader(bytes.Repeat([]byte{first}, 16)), Plain, "")
		if err != nil {
			t.Fatal(err)
		}
		if s.Key[0] == 0xdd || s.Key[0] == 0xee || s.Key[1] != first {
			t.Errorf("key %x from %x bytes", s.Key, first)
		}
	}
}

func TestNewSecretRefusesSecretsWithoutATextForm(t *testing.T) {
	for _, c := range []struct {
		random io.Reader
		mode   Mode
		domain string
	}{
		{nil, 0, ""},
		{nil, FakeTLS + 1, ""},
		{nil, Plain, "example.com"},
		{nil, Padded, "example.com"},
		{nil, FakeTLS, ""},
		{nil, FakeTLS, "пример.рф"},
		{bytes.NewReader(make([]byte, 15)), Plain, ""},
	} {
		if s, err := NewSecret(c.random, c.mode, c.domain); err == nil || s != (Secret{}) || c.mode == 0 && !strings.Contains(err.Error(), "mode") {
			t.Errorf("NewSecret(%v, %q) = %#v, %v", c.mode, c.domain, s, err)
		}
	}
	broken := errors.New("broken")
	if _, err := NewSecret(iotest.ErrReader(broken), Plain, ""); !errors.Is(err, broken) {
		t.Errorf("error %v does not wrap the reader's", err)
	}
}

// A key of zeros is a secret, and the zero Secret is none.
func TestZeroSecretIsNoSecret(t *testing.T) {
	var none Secret
	if none.Bytes() != nil || none.String() != "" || none.Base64URL() != "" {
		t.Errorf("zero secret has bytes %x, text %q", none.Bytes(), none)
	}
	zeros, err := ParseSecret(strings.Repeat("0", 32))
	if err != nil || zeros == none {
		t.Errorf("a key of zeros: %#v, %v", zeros, err)
	}
	if _, err := none.MarshalText(); err == nil {
		t.Error("the zero secret was written out")
	}
}

// A configuration file has secrets as text. A text that is refused changes
// nothing.
func TestSecretIsTextInJSON(t *testing.T) {
	type config struct{ Secret Secret }
	for _, c := range secretSamples {
		b, err := json.Marshal(config{c.secret})
		if err != nil || string(b) != fmt.Sprintf(`{"Secret":%q}`, c.hex) {
			t.Errorf("Marshal: %s, %v", b, err)
		}
		var back config
		if err := json.Unmarshal(b, &back); err != nil || back.Secret != c.secret {
			t.Errorf("Unmarshal(%s): %v", b, err)
		}
	}
	kept := config{secretSamples[0].secret}
	if err := json.Unmarshal([]byte(`{"Secret":"nonsense"}`), &kept); err == nil || kept.Secret != secretSamples[0].secret {
		t.Errorf("nonsense changed the secret, or passed: %v", err)
	}
}

func TestSecretSharesNoMemory(t *testing.T) {
	b := secretSamples[2].secret.Bytes()
	s, err := ParseSecretBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	clear(s.Bytes())
	if s != secretSamples[2].secret {
		t.Errorf("secret changed with the caller's bytes: %#v", s)
	}
}

// FuzzSecret checks that every secret which ParseSecret accepts is equal to the
// secrets parsed from its text and binary forms.
func FuzzSecret(f *testing.F) {
	for _, c := range secretSamples {
		f.Add(c.hex)
		f.Add(c.base64URL)
		f.Add(base64.StdEncoding.EncodeToString(c.secret.Bytes()))
	}
	f.Add("70dd" + countingHex)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSecret(text)
		if err != nil {
			if s != (Secret{}) {
				t.Fatalf("secret beside error %v", err)
			}
			return
		}
		for _, out := range []string{s.String(), s.Base64URL()} {
			if back, err := ParseSecret(out); err != nil || back != s {
				t.Fatalf("%q -> %#v -> %q -> %#v, %v", text, s, out, back, err)
			}
		}
		if back, err := ParseSecretBytes(s.Bytes()); err != nil || back != s {
			t.Fatalf("%#v: bytes read back as %#v, %v", s, back, err)
		}
		if _, err := s.MarshalText(); err != nil {
			t.Fatalf("accepted but not writable: %v", err)
		}
	})
}
