package service

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service/web"
	"github.com/mtwire/mtwire/webproxy"
)

// Each user has a WEB link beside the other, in which a FakeTLS secret is padded, and the
// API of operators has it as well.
func TestUsersHaveWEBLinks(t *testing.T) {
	w := runWeb(t, func(c *Config) {
		c.Secrets = []NamedSecret{
			{"alice", parseSecret(t, "000102030405060708090a0b0c0d0e0f")},
			{"bob", parseSecret(t, "ee100102030405060708090a0b0c0d0e0f7777772e6578616d706c652e6f7267")},
		}
		c.Public, c.Probe = PublicAddress{Host: "192.0.2.1", Port: 443}, false
	})
	want := []string{
		"alice tg://proxy?server=192.0.2.1&port=443&secret=000102030405060708090a0b0c0d0e0f",
		"alice tg://webproxy?server=proxy.example.com&secret=000102030405060708090a0b0c0d0e0f",
		"bob tg://proxy?server=192.0.2.1&port=443&secret=ee100102030405060708090a0b0c0d0e0f7777772e6578616d706c652e6f7267",
		"bob tg://webproxy?server=proxy.example.com&secret=dd100102030405060708090a0b0c0d0e0f",
	}
	links, _ := w.Links(t.Context())
	var got []string
	for _, l := range links {
		got = append(got, l.User+" "+l.String())
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	if !strings.HasPrefix(links[1].HTTPS(), "https://t.me/webproxy?server=") {
		t.Error(links[1].HTTPS())
	}
	forAdmin, _, err := w.linksOf(t.Context(), "bob")
	if err != nil || len(forAdmin) != 2 || "bob "+forAdmin[1].String() != want[3] {
		t.Errorf("%v, %v", forAdmin, err)
	}
	if link, err := webproxy.ParseLink(links[3].String()); err != nil || link != links[3].Web {
		t.Errorf("%v, %v", link, err)
	}
}

// The notes name what keeps WEB clients from connecting, and nothing else.
func TestNotesTellWhatWEBClientsLack(t *testing.T) {
	ip := netip.MustParseAddr
	lookup := func(addresses ...string) func(context.Context, string) ([]netip.Addr, error) {
		return func(context.Context, string) (all []netip.Addr, err error) {
			for _, text := range addresses {
				all = append(all, ip(text))
			}
			if len(all) == 0 {
				err = errors.New("no such host")
			}
			return all, err
		}
	}
	public, private := []ownAddress{{ip: ip("203.0.113.1")}}, []ownAddress{{ip: ip("192.168.1.2")}}
	acme, err := web.NewACME(web.ACMEConfig{Host: webHost, Path: t.TempDir(), Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		own    []ownAddress
		lookup func(context.Context, string) ([]netip.Addr, error)
		r      reach
		web    *website
		listen bool
		want   []string // parts of the notes
	}{
		"all is well":       {public, lookup("203.0.113.1"), reach{host: "203.0.113.1", port: 443}, nil, false, nil},
		"no record":         {public, lookup(), reach{host: "203.0.113.1", port: 443}, nil, false, []string{"need a DNS record of proxy.example.com"}},
		"elsewhere":         {public, lookup("203.0.113.1", "198.51.100.7"), reach{host: "203.0.113.1", port: 443}, nil, false, []string{"leads to 198.51.100.7, which is not"}},
		"a router":          {private, lookup("198.51.100.7"), reach{host: "192.168.1.2", port: 443}, nil, false, []string{"leads to 198.51.100.7, which must forward port 443"}},
		"a known router":    {private, lookup("198.51.100.7"), reach{host: "198.51.100.7", port: 443}, nil, false, nil},
		"another port":      {public, lookup("203.0.113.1"), reach{host: "203.0.113.1", port: 8443}, nil, false, []string{"need port 443, and clients reach this proxy at port 8443"}},
		"no certificate":    {public, lookup("203.0.113.1"), reach{host: "203.0.113.1", port: 443}, &website{webParts: webParts{acme: acme}}, false, []string{"there is no certificate yet"}},
		"a server in front": {public, lookup("203.0.113.1"), reach{host: "203.0.113.1", port: 8443}, nil, true, nil},
	} {
		config := Config{Web: webHost}
		if test.listen {
			config.WebListen = []ListenAddress{{"tcp", "127.0.0.1:8081"}}
		}
		s := &Service{web: test.web}
		notes := s.webNotes(t.Context(), &config, &machine{own: test.own, lookup: test.lookup}, test.r)
		if len(notes) != len(test.want) {
			t.Errorf("%s: %q", name, notes)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(notes[i], want) {
				t.Errorf("%s: %q, want %q", name, notes[i], want)
			}
		}
	}
	if notes := (&Service{}).webNotes(t.Context(), &Config{}, nil, reach{}); notes != nil {
		t.Error(notes)
	}
}
