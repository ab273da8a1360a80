package config

import (
	"strings"
	"testing"
)

// A note may have several lines, and nothing that changes what a terminal shows: controls,
// and text in another order than it is written.
func TestNotesHaveNoControls(t *testing.T) {
	for note, ok := range map[string]bool{
		"a\tfriend\r\nof mine": true, "\u00e9\u05d0\u200f\U0001f600": true,
		"\x1b[2J": false, "a\x00": false, "\x7f": false, "\u009b2J": false, "\u202eeman": false, "\u2066x": false, "a\u2028b": false,
	} {
		u := User{Name: "bob", SecretEnv: "X", Note: note}
		wrong := u.Check()
		if ok != (len(wrong) == 0) || !ok && wrong[0].Key != "note" {
			t.Errorf("%q: %v", note, wrong)
		}
	}
}

// A name is a part of paths, of labels, of lines of the log and of files.
func TestNamesOfUsers(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "A.b-c_9": true, "...": true, strings.Repeat("x", 64): true,
		"": false, ".": false, "..": false, "a/b": false, "a b": false, "a\n": false, "\u00e9": false, "a=b": false, "a\"": false, strings.Repeat("x", 65): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
