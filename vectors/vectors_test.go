package vectors

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// README.md describes the format.
func TestFieldsAreParsedUnchanged(t *testing.T) {
	got, err := ParseFields("about: a: b \nwire: 0a\n  0b\n  0c\nempty:\nwire: 0d\n")
	want := []Field{{"about", "a: b "}, {"wire", "0a0b0c"}, {"empty", ""}, {"wire", "0d"}}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%q, %v", got, err)
	}
	c := Case{Fields: got}
	if v, ok := c.Get("wire"); v != "0a0b0c" || !ok {
		t.Errorf("Get: %q, %v", v, ok)
	}
	if _, ok := c.Get("other"); ok {
		t.Error("a field that is not there")
	}
	if v := c.All("wire"); !slices.Equal(v, []string{"0a0b0c", "0d"}) {
		t.Errorf("All: %q", v)
	}
}

// A lenient parser would skip fields.
func TestMalformedFilesAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "\n", "key: value", "key value\n", "  more\n", "Key: value\n", "key : value\n",
		": value\n", "key:value\n", "key: \n", "key: value\n\n", "a: b\r\n\r\n",
	} {
		if fields, err := ParseFields(text); err == nil {
			t.Errorf("%q gave %q", text, fields)
		}
	}
}

// A runner without cases would pass.
func TestLoadFailsWithoutCases(t *testing.T) {
	if _, err := Load("no-such-row"); err == nil {
		t.Error("loaded a row that does not exist")
	}
	if names, err := rows(fstest.MapFS{}); err == nil {
		t.Errorf("rows of nothing: %q", names)
	}
	if _, err := rows(fstest.MapFS{"stray.txt": {}}); err == nil {
		t.Error("a file among the rows")
	}
	for name, fsys := range map[string]fstest.MapFS{
		"no cases in":     {"row": {Mode: fs.ModeDir}},
		"not a case":      {"row/case.json": {Data: []byte("{}")}},
		"has no key":      {"row/case.txt": {Data: []byte("nothing\n")}},
		"is not a case, ": {"row/case.txt/x": {}},
	} {
		if cases, err := load(fsys, "row"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v, %v", name, cases, err)
		}
	}
}

// Each row of the table in README.md has its directory, and there is no other.
func TestEveryRowHasCases(t *testing.T) {
	got, err := Rows()
	want := []string{
		"connection", "datacenter", "detection", "faketls", "framing", "http", "link", "obfuscation",
		"quick-ack", "recorded", "secret", "transport-error", "unencrypted", "websocket",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	total := 0
	for _, row := range got {
		cases, err := Load(row)
		if err != nil {
			t.Error(err)
		}
		total += len(cases)
	}
	if total < 120 {
		t.Errorf("%d cases", total)
	}
}
