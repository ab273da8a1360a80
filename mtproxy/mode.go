package mtproxy

import (
	"fmt"
	"strings"
)

// Modes is a set of connection modes. They are ordered by how hard their traffic
// is to detect, the hardest last.
type Modes uint8

const (
	// Classic is obfuscation alone, in any framing but padded intermediate.
	Classic Modes = 1 << iota
	// DD is obfuscation with padded intermediate framing.
	DD
	// EE is FakeTLS with obfuscation inside.
	EE

	// Web is a stream of a WEB relay, in any framing. It is not in AllModes: a server
	// accepts it when it has a relay, with every secret.
	Web

	// AllModes has every mode of connections to a server itself.
	AllModes = Classic | DD | EE
)

var modeNames = [...]string{"classic", "dd", "ee", "web"}

// String returns the names of the modes, such as "classic,dd,ee", or "" if there
// are none.
func (m Modes) String() string {
	switch m { // the mode of a client, which is in a line of the log for each connection
	case Classic:
		return modeNames[0]
	case DD:
		return modeNames[1]
	case EE:
		return modeNames[2]
	case Web:
		return modeNames[3]
	}
	var names []string
	for i, name := range modeNames {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// MarshalText returns the same text as String.
func (m Modes) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText parses text with ParseModes. After an error m is unchanged.
func (m *Modes) UnmarshalText(text []byte) error {
	parsed, err := ParseModes(string(text))
	if err != nil {
		return err
	}
	*m = parsed
	return nil
}

// otherNames are other programs' names of the modes.
var otherNames = map[string]string{
	"plain": "classic", "simple": "classic", "secure": "dd", "padded": "dd", "tls": "ee", "faketls": "ee", "fake-tls": "ee",
}

// settableNames are the names of AllModes.
var settableNames = modeNames[:3]

// ParseModes parses the names that String returns for AllModes and parts of it, in any
// order and case, with or without space between. An empty text is an error, and so is
// Web, which is a mode of clients alone.
func ParseModes(text string) (m Modes, err error) {
next:
	for name := range strings.SplitSeq(text, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		for i, known := range settableNames {
			if name == known {
				m |= 1 << i
				continue next
			}
		}
		err := fmt.Errorf("unknown mode %q: want %s, or several with commas between", name, strings.Join(settableNames, ", "))
		if name == modeNames[3] {
			err = fmt.Errorf("mode web is not one to choose: a proxy with a relay accepts it, with every secret")
		}
		if known, ok := otherNames[name]; ok {
			err = fmt.Errorf("%w; %s is called %s here", err, name, known)
		}
		return 0, err
	}
	return m, nil
}

// Modes returns the modes that s allows: the mode named by its prefix and all
// modes that are harder to detect.
func (s Secret) Modes() Modes {
	switch s.Mode {
	case FakeTLS:
		return EE
	case Padded:
		return DD | EE
	}
	return AllModes
}
