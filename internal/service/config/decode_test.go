package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// schema is a configuration with values of every kind.
type schema struct {
	Listen  []string      `toml:"listen"`
	Timeout time.Duration `toml:"dial_timeout"`
	Count   int16         `toml:"count"`
	Part    float64       `toml:"part"`
	On      bool          `toml:"on"`
	Rate    Bytes         `toml:"rate"`
	Users   []User        `toml:"user"`
	Log     struct {
		Level string `toml:"level"`
	} `toml:"log"`
}

func decode(t *testing.T, text string) (s schema, d *Document, err error) {
	t.Helper()
	s = schema{Listen: []string{":8443"}, On: true, Count: 7}
	d, err = Decode("mtwire.toml", []byte(text), &s)
	return s, d, err
}

// Every kind of value is decoded, and keys that are absent keep their defaults.
func TestDocumentsAreDecoded(t *testing.T) {
	s, d, err := decode(t, `
listen = [":443", "[::1]:444"] # replaces the default
dial_timeout = "1m30s"
part = 0.5
rate = "1 MiB"
log.level = "debug"

[[user]]
name = "alice"
secret = "dd000102030405060708090a0b0c0d0e0f"
expires = 2027-01-31
quota = 1_000_000
quota_period = "month"
quota_day = 31
time_zone = "Europe/Berlin"
networks = ["192.0.2.0/24", "2001:db8::1"]

[[user]]
name = "bob"
enabled = false
secrets = ["dd000102030405060708090a0b0c0d0e10"]
rate_down = 65536
`)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(s.Listen, []string{":443", "[::1]:444"}) || s.Timeout != 90*time.Second || s.Part != 0.5 ||
		s.Rate != 1<<20 || s.Log.Level != "debug" || !s.On || s.Count != 7 {
		t.Errorf("decoded %+v", s)
	}
	if len(s.Users) != 2 || !s.Users[0].Enabled || s.Users[1].Enabled || s.Users[0].Quota != 1e6 || s.Users[1].RateDown != 65536 {
		t.Fatalf("decoded users %+v", s.Users)
	}
	if at := s.Users[0].ExpiresAt(); at.Format(time.RFC3339) != "2027-01-31T00:00:00+01:00" {
		t.Errorf("the user expires at %v, want the beginning of that day in Berlin", at)
	}
	if !d.Has("listen") || !d.Has("user") || d.Has("count") {
		t.Error("Has does not tell which keys are in the document")
	}
}

// All errors of a document are reported, with line, column and the nearest key, in the
// order of the document.
func TestErrorsHavePositionsAndSuggestions(t *testing.T) {
	_, _, err := decode(t, `listn = [":443"]
dial-timeout = 3
count = 70000
on = "yes"
listen = ":443"
part = 1979-05-27

[[user]]
name = "alice"
secret = "not a secret at all"
max_conections = 3
 rate_down = "fast"

[log]
levle = "debug"

[usr]
name = "x"

[dial_timeout]
x = 1
`)
	var all *Errors
	if !errors.As(err, &all) {
		t.Fatalf("error %v, want an *Errors", err)
	}
	want := []string{
		`mtwire.toml:1:1: unknown key "listn": did you mean listen?`,
		`mtwire.toml:2:1: unknown key "dial-timeout": did you mean dial_timeout?`,
		`mtwire.toml:3:9: count: the number is out of range, want at most 32767`,
		`mtwire.toml:4:6: on: want true or false, found a string`,
		`mtwire.toml:5:10: listen: want an array: [a string, ...], found a string`,
		`mtwire.toml:6:8: part: want a number, found a date or time`,
		`mtwire.toml:10:10: user[0].secret: bad secret: `,
		`mtwire.toml:11:1: unknown key "max_conections" in user: did you mean max_connections?`,
		`mtwire.toml:12:14: user[0].rate_down: "fast" is no number of bytes: `,
		`mtwire.toml:15:1: unknown key "levle" in log: did you mean level?`,
		`mtwire.toml:17:2: unknown key "usr": did you mean user?`,
		`mtwire.toml:20:2: dial_timeout: this is a value and no table: want a duration`,
	}
	for i, e := range all.All {
		if i >= len(want) || !strings.HasPrefix(e.Error(), want[i]) {
			t.Errorf("error %d: %v", i, e)
		}
	}
	if len(all.All) != len(want) {
		t.Errorf("%d errors, want %d", len(all.All), len(want))
	}
	if strings.Contains(err.Error(), "not a secret at all") {
		t.Error("an error quotes a secret")
	}
}

// A document whose syntax is wrong has one error, at its position, and it quotes no
// value.
func TestErrorsOfSyntaxHavePositions(t *testing.T) {
	for text, want := range map[string]string{
		"on = true\nlisten = [\"a\"":             "mtwire.toml:2:",
		"on = true\non = false\n":                "mtwire.toml:2:1: ",
		"[log]\nlevel = 'a'\n[log]\n":            "mtwire.toml:3:2: ",
		"on = true\nsecret = \"hunter2\" oops\n": "mtwire.toml:2:20: ",
		"\xff\xfe":                               "mtwire.toml:1:1: ",
	} {
		_, _, err := decode(t, text)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: error %v, want one at %s", text, err, want)
		}
	}
}

// A check that comes after decoding has the position of what it is about.
func TestDocumentTellsWhereAPathIs(t *testing.T) {
	_, d, err := decode(t, "listen = [\n  \":1\",\n  \":1\", # again\n]\n[[user]]\nname='a'\n[[user]]\n\"name\" = 'a'\n  [log]\n")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"listen[1]":      "mtwire.toml:3:3: listen[1]: twice",
		"listen":         "mtwire.toml:1:1: listen: twice",
		"user[1].name":   "mtwire.toml:8:1: user[1].name: twice",
		"user[1].secret": "mtwire.toml:7:3: user[1].secret: twice",
		"log.level":      "mtwire.toml:9:4: log.level: twice",
		"dial_timeout":   "mtwire.toml: dial_timeout: twice",
	} {
		if got := d.Error(path, errors.New("twice")).Error(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// A file that is too long is an error, before it is decoded.
func TestFilesAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mtwire.toml")
	if err := os.WriteFile(path, []byte("on = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := ReadFile(path); err != nil || string(data) != "on = true\n" {
		t.Errorf("%q, %v", data, err)
	}
	if err := os.Truncate(path, MaxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
		t.Errorf("error %v", err)
	}
}

// The second reading finds a file that has become longer, shorter or another one since the
// first.
func TestASecondReadingComparesAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	text := bytes.Repeat([]byte("0123456789abcdef"), 10_000) // several parts
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(text)
	other[len(other)-1]++
	for i, read := range [][]byte{text, text[:len(text)-1], append(bytes.Clone(text), 'x'), other, nil} {
		if same, err := has(path, read); err != nil || same != (i == 0) {
			t.Errorf("%d bytes: %t, %v", len(read), same, err)
		}
	}
}

// Of many errors, the first hundred are told, and how many more there are.
func TestManyErrorsAreCounted(t *testing.T) {
	_, _, err := decode(t, strings.Repeat("[[user]]\nnmae = 1\n", 250))
	var all *Errors
	if !errors.As(err, &all) || len(all.All) != maxErrors || all.More != 150 || !strings.HasSuffix(err.Error(), "\nand 150 more errors") {
		t.Errorf("%.100v", err)
	}
}

// A byte order mark and line ends of Windows make no difference.
func TestFilesOfWindowsAreDecoded(t *testing.T) {
	s, _, err := decode(t, "\ufefflisten = [':443']\r\ncount = 3\r\n\r\n[log]\r\nlevel = 'x'\r\n")
	if err != nil || s.Count != 3 || s.Log.Level != "x" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, _, err := decode(t, "\ufefflistn = 3\r\n x = 1\r\n"); err == nil || !strings.Contains(err.Error(), "mtwire.toml:1:1: ") || !strings.Contains(err.Error(), "mtwire.toml:2:2: ") {
		t.Errorf("%v", err)
	}
}

// Tables can be written inline, and dotted.
func TestTablesCanBeInline(t *testing.T) {
	s, _, err := decode(t, "user = [{name = 'a', quota = 5}, {name = 'b', enabled = false}]\nlog = {level = 'x'}\n")
	if err != nil || len(s.Users) != 2 || s.Users[0].Quota != 5 || !s.Users[0].Enabled || s.Users[1].Enabled || s.Log.Level != "x" {
		t.Errorf("%+v, %v", s, err)
	}
	_, _, err = decode(t, "user = [{name = 'a', qota = 5}]\n[log]\nlevel = 3\n")
	if err == nil || !strings.Contains(err.Error(), `1:22: unknown key "qota" in user: did you mean quota?`) {
		t.Errorf("%v", err)
	}
}
