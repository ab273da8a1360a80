package proxy

import (
	"bytes"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// "A secret with a prefix (dd, ee) allows that mode and what is safer; a bare
// 16-byte secret allows all three; options switch modes off." Whoever uses
// another one is a stranger.
func TestSecretsAllowTheirModeAndSaferOnes(t *testing.T) {
	dc, _ := dataCenter(t)
	clients := map[mtproxy.Modes]string{
		mtproxy.Classic: "protocol=intermediate&secret=" + mtwiretest.PlainSecret,
		mtproxy.DD:      "secret=" + mtwiretest.PaddedSecret,
		mtproxy.EE:      "secret=" + mtwiretest.FakeTLSSecret,
	}
	for _, c := range []struct {
		secret string
		modes  mtproxy.Modes
		want   mtproxy.Modes
	}{
		{mtwiretest.PlainSecret, 0, mtproxy.Classic | mtproxy.DD | mtproxy.EE},
		{mtwiretest.PaddedSecret, 0, mtproxy.DD | mtproxy.EE},
		{mtwiretest.FakeTLSSecret, 0, mtproxy.EE},
		{mtwiretest.PlainSecret, mtproxy.Classic | mtproxy.EE, mtproxy.Classic | mtproxy.EE},
		{mtwiretest.PaddedSecret, mtproxy.Classic | mtproxy.DD, mtproxy.DD},
	} {
		host, visits := frontingHost(t)
		address := start(t, Config{
			Users:       []User{{Secret: secretOf(t, c.secret)}},
			Modes:       c.modes,
			DataCenters: map[datacenter.DC][]string{0: {dc.String()}},
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

// A secret that the modes leave nothing of is a slip of the operator's.
func TestSecretThatNobodyCanUseIsRefused(t *testing.T) {
	_, err := New(Config{
		Users: []User{{Secret: secretOf(t, mtwiretest.PlainSecret)}, {Name: "alice", Secret: secretOf(t, mtwiretest.FakeTLSSecret)}},
		Modes: mtproxy.Classic | mtproxy.DD,
	})
	if want := `proxy: nobody can use the secret of user 2, "alice": it allows ee, and the proxy classic,dd`; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

// "A secret is theirs alone": of two users with one key the first would be
// found, and a client be refused that only the second allows. One key for two
// domains is fine, as is one that is known with a domain and without.
func TestOneSecretForTwoUsersIsRefused(t *testing.T) {
	const otherDomain = "ee" + mtwiretest.PlainSecret + "6578616d706c652e6e6574"
	for _, second := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret} {
		_, err := New(Config{Users: []User{
			{Name: "alice", Secret: secretOf(t, mtwiretest.PaddedSecret)},
			{Name: "bob", Secret: secretOf(t, mtwiretest.FakeTLSSecret)},
			{Name: "carol", Secret: secretOf(t, otherDomain)},
			{Name: "dan", Secret: secretOf(t, second)},
		}})
		if want := `proxy: users 1, "alice", and 4, "dan", have one secret: keep the one that allows more`; err == nil || err.Error() != want {
			t.Errorf("%v", err)
		}
	}
	_, err := New(Config{Users: []User{
		{Secret: secretOf(t, mtwiretest.PaddedSecret)}, {Secret: secretOf(t, mtwiretest.FakeTLSSecret)}, {Secret: secretOf(t, otherDomain)},
	}})
	if err != nil {
		t.Error(err)
	}
}
