package mtwiretest

import (
	"fmt"
	"net"
)

// Secrets of one and the same key, in the three modes. They open nothing but
// servers on loopback.
const (
	PlainSecret  = "000102030405060708090a0b0c0d0e0f"
	PaddedSecret = "dd" + PlainSecret
	// FakeTLSSecret is for example.com.
	FakeTLSSecret = "ee" + PlainSecret + "6578616d706c652e636f6d"
)

// Mode is one way to connect.
type Mode struct {
	// URL is an endpoint with %s in place of its address.
	URL string
	// Transport is what the server then says it was.
	Transport string
	// DC is the data centre that the init payload names.
	DC int
	// Full says that the mode needs Full inside obfuscation to be allowed.
	Full bool
}

// Endpoint returns the URL for a server at address.
func (m Mode) Endpoint(address net.Addr) string { return fmt.Sprintf(m.URL, address) }

// PlainModes are the modes that need no secret: every framing, plain and
// obfuscated, on every carrier.
func PlainModes() (modes []Mode) {
	add := func(full bool, dc int, transport, url string) {
		modes = append(modes, Mode{URL: url, Transport: transport, DC: dc, Full: full})
	}
	for _, p := range []string{"abridged", "intermediate", "padded-intermediate", "full"} {
		add(false, 0, "tcp, "+p, "tcp://%s?protocol="+p)
	}
	for _, p := range []string{"abridged", "intermediate", "padded-intermediate", "full"} {
		full := p == "full"
		add(full, -4, "tcp, obfuscated, "+p, "tcp://%s?protocol="+p+"&obfuscated=true&dc=-4")
		add(full, 2, "websocket, obfuscated, "+p, "ws://%s/apiws?protocol="+p+"&dc=2")
		add(full, 10002, "tls, websocket, obfuscated, "+p, "wss://%s/apiws_test?protocol="+p+"&dc=10002")
	}
	add(false, 0, "http", "http://%s/api")
	add(false, 0, "tls, http", "https://%s/apiw1")
	return modes
}

// ProxiedModes are the modes of an MTProxy: classic in every framing, dd, ee.
func ProxiedModes() (modes []Mode) {
	for _, p := range []string{"abridged", "intermediate", "padded-intermediate"} {
		modes = append(modes, Mode{
			URL:       "tcp://%s?protocol=" + p + "&dc=-2&secret=" + PlainSecret,
			Transport: "tcp, obfuscated, " + p, DC: -2,
		})
	}
	return append(modes,
		Mode{
			URL:       "tcp://%s?dc=10002&secret=" + PaddedSecret,
			Transport: "tcp, obfuscated, padded-intermediate", DC: 10002,
		},
		Mode{
			URL:       "tcp://%s?dc=-10002&secret=" + FakeTLSSecret,
			Transport: "tcp, faketls, obfuscated, padded-intermediate", DC: -10002,
		},
	)
}
