package mtproxy

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestModesAreReadAsTheyAreWritten(t *testing.T) {
	for m := Modes(1); m <= AllModes; m++ {
		if got, err := ParseModes(m.String()); got != m || err != nil {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	if m, err := ParseModes("ee,classic"); m != Classic|EE || err != nil {
		t.Errorf("in another order: %v, %v", m, err)
	}
	if m, err := ParseModes(" EE, dd"); m != DD|EE || err != nil {
		t.Errorf("with space and in another case: %v, %v", m, err)
	}
	if _, err := ParseModes("ee,TLS"); err == nil || !strings.HasSuffix(err.Error(), "; tls is called ee here") {
		t.Error(err)
	}
	if Web.String() != "web" || AllModes&Web != 0 {
		t.Errorf("%v, %v", Web, AllModes)
	}
	for _, text := range []string{"", "plain", "dd,", "dd ee", "web"} {
		if m, err := ParseModes(text); err == nil {
			t.Errorf("%q is %v", text, m)
		}
	}
}

// A configuration file has the modes as text. A text that is refused changes
// nothing.
func TestModesAreTextInJSON(t *testing.T) {
	type config struct{ Modes Modes }
	for m, want := range map[Modes]string{
		Classic: `{"Modes":"classic"}`, DD | EE: `{"Modes":"dd,ee"}`, AllModes: `{"Modes":"classic,dd,ee"}`,
	} {
		b, err := json.Marshal(config{m})
		if err != nil || string(b) != want {
			t.Errorf("Marshal: %s, %v, want %s", b, err, want)
		}
		var back config
		if err := json.Unmarshal(b, &back); err != nil || back.Modes != m {
			t.Errorf("Unmarshal(%s): %v, %v", b, back.Modes, err)
		}
	}
	for _, text := range []string{`{"Modes":"dd,plain"}`, `{"Modes":""}`} {
		kept := config{EE}
		if err := json.Unmarshal([]byte(text), &kept); err == nil || kept.Modes != EE {
			t.Errorf("%s: %v, %v", text, kept.Modes, err)
		}
	}
}

// A client may use a mode that is harder to detect than the one that its secret
// names, and no other.
func TestSecretAllowsItsModeAndHarderOnes(t *testing.T) {
	for mode, want := range map[Mode]Modes{Plain: AllModes, Padded: DD | EE, FakeTLS: EE} {
		if got := (Secret{Mode: mode}).Modes(); got != want {
			t.Errorf("%v: %v, want %v", mode, got, want)
		}
	}
}
