package main

import (
	"testing"

	"github.com/mtwire/mtwire/obfuscation"
)

func TestModesAreASetOfKnownNames(t *testing.T) {
	all := []obfuscation.Mode{obfuscation.Plain, obfuscation.Padded, obfuscation.FakeTLS}
	for text, want := range map[string]struct {
		modes    []obfuscation.Mode
		spelling string
	}{
		"classic,dd,ee": {all, "classic,dd,ee"},
		"ee, dd ,dd":    {all[1:], "dd,ee"},
		"classic":       {all[:1], "classic"},
		"dd":            {all[1:2], "dd"},
		"ee":            {all[2:], "ee"},
	} {
		set, err := parseModes(text)
		if err != nil || set.String() != want.spelling {
			t.Errorf("%q: %v, %v", text, set, err)
		}
		count := 0
		for _, m := range append(all, 0) {
			if set.has(m) {
				count++
			}
		}
		for _, m := range want.modes {
			if !set.has(m) || count != len(want.modes) {
				t.Errorf("%q has %v: %t, %d in all", text, m, set.has(m), count)
			}
		}
	}
	for text, want := range map[string]string{
		"":           `--modes "": a mode is missing, want some of classic, dd, ee`,
		"dd,":        `--modes "dd,": a mode is missing, want some of classic, dd, ee`,
		"dd,faketls": `--modes "dd,faketls": unknown mode "faketls", want some of classic, dd, ee`,
		"DD":         `--modes "DD": unknown mode "DD", want some of classic, dd, ee`,
	} {
		if set, err := parseModes(text); err == nil || err.Error() != want || set != 0 {
			t.Errorf("%q: %v, %v", text, set, err)
		}
	}
}
