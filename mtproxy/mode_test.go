package mtproxy

import "testing"

func TestModesAreReadAsTheyAreWritten(t *testing.T) {
	for m := Modes(1); m <= AllModes; m++ {
		if got, err := ParseModes(m.String()); got != m || err != nil {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	for _, text := range []string{"", "plain", "dd,", "dd ee"} {
		if m, err := ParseModes(text); err == nil {
			t.Errorf("%q is %v", text, m)
		}
	}
}
