package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mtwire/mtwire/obfuscation"
)

// modeSet is which modes of clients are let in.
type modeSet uint8

// modeNames are the modes in the words of operators, in the order of the
// flag's help.
var modeNames = [...]struct {
	name string
	mode obfuscation.Mode
}{
	{"classic", obfuscation.Plain},
	{"dd", obfuscation.Padded},
	{"ee", obfuscation.FakeTLS},
}

// parseModes reads --modes: names with commas between them.
func parseModes(text string) (modeSet, error) {
	var set modeSet
	for name := range strings.SplitSeq(text, ",") {
		mode, err := parseMode(strings.TrimSpace(name))
		if err != nil {
			return 0, fmt.Errorf("--modes %q: %w", text, err)
		}
		set |= 1 << mode
	}
	return set, nil
}

func parseMode(name string) (obfuscation.Mode, error) {
	for _, known := range modeNames {
		if known.name == name {
			return known.mode, nil
		}
	}
	if name == "" {
		return 0, errors.New("a mode is missing, want some of classic, dd, ee")
	}
	return 0, fmt.Errorf("unknown mode %q, want some of classic, dd, ee", name)
}

// has says whether clients of a mode are let in.
func (s modeSet) has(m obfuscation.Mode) bool { return s&(1<<m) != 0 }

// String is what parseModes reads.
func (s modeSet) String() string {
	var names []string
	for _, known := range modeNames {
		if s.has(known.mode) {
			names = append(names, known.name)
		}
	}
	return strings.Join(names, ",")
}
