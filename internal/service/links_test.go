package service

import (
	"context"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// listening returns a service that listens until the test ends.
func listening(t *testing.T, config Config) *Service {
	t.Helper()
	s, err := New(config, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Listen(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s
}

// linksOf returns the links of a service that listens.
func linksOf(s *Service) []Link {
	links, _ := s.Links(context.Background())
	return links
}

// A link leads to the service, whatever it listens on.
func TestLinksLeadToTheListener(t *testing.T) {
	texts := []string{":0", "0.0.0.0:0", "127.0.0.1:0"}
	if hasIPv6() {
		texts = append(texts, "[::]:0", "[::1]:0")
	}
	for _, text := range texts {
		config := testConfig(t)
		config.Listen = []ListenAddress{{"unix", socketPath(t)}, unmarshal[ListenAddress](t, text)}
		s := listening(t, config)
		link := linksOf(s)[0]
		if !reached(t, s.listeners.list()[1], "tcp", link.Addr()) {
			t.Errorf("%s: the link leads to %s", text, link.Addr())
		}
	}
}

// There is a link for each secret, with the configured server and port.
func TestLinksAreForEachSecretInOrder(t *testing.T) {
	config := testConfig(t)
	config.Public = PublicAddress{Host: "proxy.example.com", Port: 443}
	config.Listen = []ListenAddress{{"unix", socketPath(t)}}
	config.Secrets = []NamedSecret{
		{"zoe", secretOf(t, mtwiretest.PaddedSecret)}, {"", mtproxy.Secret{Mode: mtproxy.Plain}}, {"alice", mtproxy.Secret{Mode: mtproxy.Plain, Key: [16]byte{1}}},
	}
	links := linksOf(listening(t, config))
	if len(links) != 3 {
		t.Fatal(links)
	}
	for i, user := range []string{"zoe", "2", "alice"} {
		want := mtproxy.Link{Server: "proxy.example.com", Port: 443, Secret: config.Secrets[i].Secret}
		if links[i] != (Link{User: user, Link: want}) {
			t.Errorf("%d: %v, want %s and %v", i, links[i], user, want)
		}
	}
}
