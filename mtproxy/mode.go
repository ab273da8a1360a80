package mtproxy

import (
	"fmt"
	"strings"
)

// Modes is a set of ways in which clients connect. They differ in how hard they
// are to detect, the last being the hardest.
type Modes uint8

const (
	// Classic is obfuscation alone, in any framing but padded intermediate.
	Classic Modes = 1 << iota
	// DD is obfuscation with padded intermediate framing.
	DD
	// EE is FakeTLS with obfuscation inside.
	EE

	// AllModes is all of them.
	AllModes = Classic | DD | EE
)

var modeNames = [...]string{"classic", "dd", "ee"}

// String returns the names of the modes, as "classic,dd,ee".
func (m Modes) String() string {
	var names []string
	for i, name := range modeNames {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ParseModes reads what String writes.
func ParseModes(text string) (m Modes, err error) {
next:
	for name := range strings.SplitSeq(text, ",") {
		for i, known := range modeNames {
			if name == known {
				m |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("unknown mode %q: want %s, or several with commas between", name, strings.Join(modeNames[:], ", "))
	}
	return m, nil
}

// Modes returns what s allows: the mode that its prefix names and those that are
// harder to detect.
func (s Secret) Modes() Modes {
	switch s.Mode {
	case FakeTLS:
		return EE
	case Padded:
		return DD | EE
	}
	return AllModes
}
