package config

import "testing"

// A swapped, missing, added or wrong letter is one mistake, in both directions.
func TestTypingMistakes(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "ab", 1}, {"abc", "xbc", 1},
		{"listen", "lisetn", 1}, {"listen", "lsiten", 1}, {"ca", "abc", 3},
	} {
		if got, back := typingMistakes(test.a, test.b), typingMistakes(test.b, test.a); got != test.want || back != test.want {
			t.Errorf("%q, %q: %d and %d, want %d", test.a, test.b, got, back, test.want)
		}
	}
}

// A key is found with a typing mistake, with dashes, and by a part of its name; a text
// that is like none is not.
func TestNearestName(t *testing.T) {
	names := []string{"listen", "dial_timeout", "max_unauthenticated", "proxy_protocol_from"}
	for text, want := range map[string]string{
		"lisetn": "listen", "dial-timeout": "dial_timeout", "timeout": "dial_timeout", "max-unauth": "max_unauthenticated",
		"something": "", "x": "",
	} {
		if got := Nearest(text, names); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
