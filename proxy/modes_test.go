package proxy

import (
	"bytes"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A dd or ee secret allows its mode and safer ones, a plain secret allows all, and
// Config.Modes excludes modes. A client that uses another one is tunneled to the
// fronting host.
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
			Users:       onlyUser(t, c.secret),
			Modes:       c.modes,
			DataCenters: allAt(dc),
			Fronts:      map[string]Front{"": {Address: host}},
		})
		for mode, query := range clients {
			relayed := false
			conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?"+query, nil)
			if err == nil {
				sent := payload(3)
				if err = conn.Send(short(t), sent); err == nil {
					var p mtwire.Packet
					p, err = conn.Receive(short(t))
					relayed = bytes.Equal(p.Payload, sent)
				}
				conn.Close()
			}
			allowed := c.want&mode != 0
			if allowed != relayed {
				t.Errorf("%v with a %v secret, modes %v: %v", mode, secretOf(t, c.secret).Mode, c.modes, err)
			}
			if !allowed {
				<-visits
			}
		}
	}
}

// A secret is refused if Config.Modes has none of the modes that it allows.
func TestSecretThatNoClientCanUseIsRefused(t *testing.T) {
	_, err := New(Config{
		Users: []User{user(t, "", mtwiretest.PlainSecret), user(t, "alice", mtwiretest.FakeTLSSecret)},
		Modes: mtproxy.Classic | mtproxy.DD,
	})
	if want := `proxy: no client can use the secret of user 2, "alice": it allows ee, and the proxy classic,dd`; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

// Two users do not share a secret: a search would find the first, and a client
// would be refused that only the second allows. One key with two domains, and
// with a domain and without, is two secrets.
func TestOneSecretForTwoUsersIsRefused(t *testing.T) {
	const otherDomain = "ee" + mtwiretest.PlainSecret + "6578616d706c652e6e6574"
	for _, second := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret} {
		_, err := New(Config{Users: []User{
			user(t, "alice", mtwiretest.PaddedSecret),
			user(t, "bob", mtwiretest.FakeTLSSecret),
			user(t, "carol", otherDomain),
			user(t, "dan", second),
		}})
		if want := `proxy: users 1, "alice", and 4, "dan", have the same secret: keep the one that allows more`; err == nil || err.Error() != want {
			t.Errorf("%v", err)
		}
	}
	_, err := New(Config{Users: []User{
		user(t, "alice", mtwiretest.PaddedSecret), user(t, "bob", mtwiretest.FakeTLSSecret), user(t, "", otherDomain),
	}})
	if err != nil {
		t.Error(err)
	}
}

// A client whose secret does not allow its mode is counted, in each mode that does
// not fit, and others are not.
func TestClientsInAForbiddenModeAreCounted(t *testing.T) {
	dc, _ := dataCenter(t)
	for _, c := range []struct {
		secret string
		modes  []string // of clients, by their secrets
		want   int64
	}{
		{mtwiretest.PlainSecret, []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret}, 0},
		{mtwiretest.PaddedSecret, []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret}, 1},
	} {
		p, address := startProxy(t, Config{Users: onlyUser(t, c.secret), DataCenters: allAt(dc)})
		for _, secret := range c.modes {
			query := "secret=" + secret
			if secret == mtwiretest.PlainSecret {
				query += "&protocol=abridged"
			}
			conn := dial(t, address, query)
			if err := conn.Send(short(t), payload(3)); err != nil {
				t.Fatal(err)
			}
			if secret != mtwiretest.PlainSecret || c.want == 0 {
				if _, err := conn.Receive(short(t)); err != nil {
					t.Errorf("%.2s with %.2s: %v", secret, c.secret, err)
				}
			}
		}
		eventually(t, "all are counted", func() bool { return p.Stats().Authenticated == int64(len(c.modes))-c.want })
		eventually(t, "refused ones as well", func() bool { return p.Stats().RefusedMode == c.want })
	}
}
