package config

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// A document is decoded, or all of its errors have positions in it; Quote writes texts
// that decode to the same.
func FuzzDecode(f *testing.F) {
	f.Add("listen = [':443']\nrate = '1 MiB'\n[[user]]\nname = 'alice'\nexpires = 2027-01-31\n")
	f.Add("user = [{name = 'a', quota = 1_0}]\nlog.level = \"x\\u0041\"\ncount = 0x7f\npart = inf\n")
	f.Add("[log]\nlevel = 3\n[[user.networks]]\n[a.b]\n\"c d\".e = [[1], {}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		var s schema
		document, err := Decode("x", []byte(text), &s)
		var all *Errors
		if err != nil && (!errors.As(err, &all) || len(all.All) > maxErrors) {
			t.Fatalf("error %T %v", err, err)
		}
		if all != nil {
			for _, e := range all.All {
				if lines := strings.Count(text, "\n") + 1; e.Line < 0 || e.Line > lines {
					t.Errorf("%v is not in %d lines", e, lines)
				}
			}
		}
		document.Error("user[0].name", errors.New("x"))
		if utf8.ValidString(text) && !strings.Contains(text, "\x00") {
			if _, err := Decode("x", []byte("log.level = "+Quote(text)), &s); err != nil || s.Log.Level != text {
				t.Errorf("%q is quoted as %s: %v", text, Quote(text), err)
			}
		}
	})
}
