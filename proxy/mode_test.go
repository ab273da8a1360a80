package proxy

import (
	"bytes"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/testconn"
	"github.com/mtwire/mtwire/obfuscation"
)

// "A secret with a prefix (dd, ee) allows that mode and what is safer; a bare
// 16-byte secret allows all three; options switch modes off." Whoever uses
// another one is a stranger.
func TestSecretsAllowTheirModeAndSaferOnes(t *testing.T) {
	dc, _ := dataCenter(t)
	clients := map[Modes]string{
		Classic: "protocol=intermediate&secret=" + testconn.PlainSecret,
		DD:      "secret=" + testconn.PaddedSecret,
		EE:      "secret=" + testconn.FakeTLSSecret,
	}
	for _, c := range []struct {
		secret string
		modes  Modes
		want   Modes
	}{
		{testconn.PlainSecret, 0, Classic | DD | EE},
		{testconn.PaddedSecret, 0, DD | EE},
		{testconn.FakeTLSSecret, 0, EE},
		{testconn.PlainSecret, Classic | EE, Classic | EE},
		{testconn.PaddedSecret, Classic | DD, DD},
	} {
		host, visits := fronting(t)
		address := start(t, Config{
			Users:       []User{{Secret: secretOf(t, c.secret)}},
			Modes:       c.modes,
			DataCenters: map[obfuscation.DC][]string{0: {dc.String()}},
			Fronts:      map[string]string{"": host},
		})
		for mode, query := range clients {
			carried := false
			conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?"+query, nil)
			if err == nil {
				sent := payload(3)
				if err = conn.Send(short(t), sent); err == nil {
					var p mtwire.Packet
					p, err = conn.Receive(short(t))
					carried = bytes.Equal(p.Payload, sent)
				}
				conn.Close()
			}
			allowed := c.want&mode != 0
			if allowed != carried {
				t.Errorf("%v with a %v secret, modes %v: %v", mode, secretOf(t, c.secret).Mode, c.modes, err)
			}
			if !allowed {
				<-visits
			}
		}
	}
}

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

// A secret that the modes leave nothing of is a slip of the operator's.
func TestSecretThatNobodyCanUseIsRefused(t *testing.T) {
	_, err := New(Config{
		Users: []User{{Secret: secretOf(t, testconn.PlainSecret)}, {Name: "alice", Secret: secretOf(t, testconn.FakeTLSSecret)}},
		Modes: Classic | DD,
	})
	if want := `proxy: nobody can use the secret of user 2, "alice": it allows ee, and the proxy classic,dd`; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

// "A secret is theirs alone": of two users with one key the first would be
// found, and a client be refused that only the second allows. One key for two
// domains is fine, as is one that is known with a domain and without.
func TestOneSecretForTwoUsersIsRefused(t *testing.T) {
	const otherDomain = "ee" + testconn.PlainSecret + "6578616d706c652e6e6574"
	for _, second := range []string{testconn.PlainSecret, testconn.PaddedSecret} {
		_, err := New(Config{Users: []User{
			{Name: "alice", Secret: secretOf(t, testconn.PaddedSecret)},
			{Name: "bob", Secret: secretOf(t, testconn.FakeTLSSecret)},
			{Name: "carol", Secret: secretOf(t, otherDomain)},
			{Name: "dan", Secret: secretOf(t, second)},
		}})
		if want := `proxy: users 1, "alice", and 4, "dan", have one secret: keep the one that allows more`; err == nil || err.Error() != want {
			t.Errorf("%v", err)
		}
	}
	_, err := New(Config{Users: []User{
		{Secret: secretOf(t, testconn.PaddedSecret)}, {Secret: secretOf(t, testconn.FakeTLSSecret)}, {Secret: secretOf(t, otherDomain)},
	}})
	if err != nil {
		t.Error(err)
	}
}
