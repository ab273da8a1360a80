package mtwiretest

import (
	"fmt"
	"net"
)

// MTProxy secrets with the same key, one of each mode: plain, padded (dd) and
// FakeTLS (ee). They are public; use them on loopback only.
const (
	PlainSecret  = "000102030405060708090a0b0c0d0e0f"
	PaddedSecret = "dd" + PlainSecret
	// FakeTLSSecret is for example.com.
	FakeTLSSecret = "ee" + PlainSecret + "6578616d706c652e636f6d"
)

// Mode is a transport: a framing, plain or obfuscated, on a carrier.
type Mode struct {
	// URL is the URL of an endpoint for mtwire.Dial, with %s in place of
	// HOST:PORT; see Endpoint.
	URL string
	// Transport is the String of the transport that a server detects.
	Transport string
	// DC is the DC in the init payload, 0 without obfuscation.
	DC int
	// ObfuscatedFull reports whether mtwire.DialConfig and mtwire.ListenConfig
	// must have ObfuscatedFull set.
	ObfuscatedFull bool
}

// Endpoint returns the mode's URL for a server at address.
func (m Mode) Endpoint(address net.Addr) string { return fmt.Sprintf(m.URL, address) }

// DirectModes returns the modes without a secret: every framing, plain and
// obfuscated, on every carrier.
func DirectModes() (modes []Mode) {
	add := func(full bool, dc int, transport, url string) {
		modes = append(modes, Mode{URL: url, Transport: transport, DC: dc, ObfuscatedFull: full})
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

// ProxiedModes returns the modes with a secret, those of an MTProxy's clients:
// classic in every framing, dd and ee. The secrets are PlainSecret, PaddedSecret
// and FakeTLSSecret, so a server with one of them has the key of all.
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
