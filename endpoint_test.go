package mtwire_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// An error about a mistyped endpoint does not quote its secret.
func TestEndpointErrorsDoNotQuoteSecrets(t *testing.T) {
	const secret = mtwiretest.PlainSecret
	for _, url := range []string{
		"tcp://h:443?" + mtwiretest.PaddedSecret,
		"tcp://h:443?" + secret + "&" + secret,
		"tcp://h:443/" + secret,
		"tcp://h:443?obfuscated=" + secret,
		"http://h:443/api?" + secret,
		"tcp://h:443?secret=" + secret + "0",
		"tcp://h:443?secret=zz" + secret,
		"tg://proxy?server=h&port=443&secret=" + secret + "00",
		"tcp://h:%zz?secret=" + secret,
	} {
		if _, err := mtwire.ParseEndpoint(url); err == nil || strings.Contains(err.Error(), secret[8:]) {
			t.Errorf("%v", err)
		}
	}
}

// An endpoint that a program has put together with a carrier or a protocol that does
// not exist is an error.
func TestUnknownCarriersAndProtocolsAreErrors(t *testing.T) {
	for _, ep := range []mtwire.Endpoint{
		{Address: "127.0.0.1:1", Carrier: mtwire.WEB + 1},
		{Address: "127.0.0.1:1", Carrier: 255},
		{Address: "127.0.0.1:1", Protocol: mtwire.Full + 1},
		{Address: "127.0.0.1:1", Protocol: 255},
	} {
		if conn, err := mtwire.DialEndpoint(t.Context(), ep, nil); err == nil || !strings.Contains(err.Error(), "unknown") {
			t.Errorf("carrier %d, protocol %d: %v, %v", ep.Carrier, ep.Protocol, conn, err)
		}
	}
}

// An address that cannot be dialled is refused before anything is dialled. The
// error does not quote it.
func TestEndpointsNeedAHostAndAPort(t *testing.T) {
	config := &mtwire.DialConfig{DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		t.Errorf("%q is dialled", address)
		return nil, errors.New("dialled")
	}}
	for _, address := range []string{"", "proxy.example.com", ":443", "proxy.example.com:0", "proxy.example.com:65536", "2001:db8::1:443", "a host:443"} {
		for _, carrier := range []mtwire.Carrier{mtwire.TCP, mtwire.WebSocket, mtwire.HTTP} {
			ep := mtwire.Endpoint{Carrier: carrier, Address: address}
			_, err := mtwire.DialEndpoint(t.Context(), ep, config)
			if err == nil || !strings.HasPrefix(err.Error(), "bad endpoint: ") || address != "" && strings.Contains(err.Error(), address) {
				t.Errorf("%v %q: %v", carrier, address, err)
			}
		}
	}
	for _, url := range []string{
		"tcp://proxy.example.com", "tcp://:443", "tcp://proxy.example.com:0", "wss://proxy.example.com:65536/apiws", "http://:80/api", "https:///api",
	} {
		if ep, err := mtwire.ParseEndpoint(url); err == nil || !strings.HasPrefix(err.Error(), "bad endpoint: ") {
			t.Errorf("%s: %v, %v", url, ep, err)
		}
	}
}

// An address without a scheme is answered with the URLs that there are, whether a parser of
// URLs takes its host for a scheme or not.
func TestAnAddressIsNoEndpoint(t *testing.T) {
	for _, address := range []string{"192.0.2.1:443", "[2001:db8::1]:443", "proxy.example.com:443", "localhost:443", "proxy.example.com", ""} {
		if ep, err := mtwire.ParseEndpoint(address); err == nil || !strings.HasPrefix(err.Error(), "bad endpoint: want a URL such as tcp://HOST:PORT, ") {
			t.Errorf("%s: %v, %v", address, ep, err)
		}
	}
}

// A client on an open byte stream needs no address, and ignores a bad one.
func TestClientOnAnOpenStreamNeedsNoAddress(t *testing.T) {
	for _, address := range []string{"", "nowhere", "127.0.0.1:443"} {
		stream, other := net.Pipe()
		defer stream.Close()
		defer other.Close()
		if _, err := mtwire.Client(t.Context(), stream, mtwire.Endpoint{Address: address}, nil); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// What is logged or marshaled has the whole endpoint but the key.
func TestEndpointsAreLoggedWithoutTheirSecrets(t *testing.T) {
	for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		ep, err := mtwire.ParseEndpoint("tcp://proxy.example.com:443?dc=2&secret=" + secret)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("dial", "endpoint", ep)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("dial", "endpoint", ep, "config", struct{ Endpoint *mtwire.Endpoint }{&ep})
		b, err := json.Marshal(map[string]any{"endpoint": ep, "list": []mtwire.Endpoint{ep}})
		if err != nil {
			t.Fatal(err)
		}
		log.Write(b)
		key := hex.EncodeToString(ep.Secret.Key[:])
		if text := log.String(); strings.Contains(text, key) || strings.Count(text, "proxy.example.com:443") != 5 {
			t.Errorf("%s", text)
		}
		if err := new(mtwire.Endpoint).UnmarshalText([]byte(ep.Redacted())); err == nil {
			t.Errorf("%s was parsed", ep.Redacted())
		}
		var again mtwire.Endpoint
		if err := json.Unmarshal([]byte(strconv.Quote(ep.String())), &again); err != nil || again != ep {
			t.Errorf("%v became %v, %v", ep, again, err)
		}
	}
}

// Check has the error that DialEndpoint has, which then dials nothing: also for a secret
// that no text has.
func TestCheckIsWhatDialEndpointChecks(t *testing.T) {
	config := &mtwire.DialConfig{DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		return nil, errors.New("dialled")
	}}
	key := [16]byte{1}
	for _, ep := range []mtwire.Endpoint{
		{Address: "proxy.example.com"},
		{Address: "127.0.0.1:1", Carrier: 255},
		{Address: "127.0.0.1:1", Protocol: 255},
		{Address: "127.0.0.1:1", TLS: true},
		{Address: "127.0.0.1:1", Secret: mtwire.Secret{Key: key}},
		{Address: "127.0.0.1:1", Secret: mtwire.Secret{Mode: mtproxy.FakeTLS, Key: key}},
		{Address: "127.0.0.1:1", Secret: mtwire.Secret{Mode: mtproxy.Plain, Key: key, Domain: "a.example"}},
		{Secret: mtwire.Secret{Mode: mtproxy.Plain, Key: key}},
		{Address: "proxy.example.com:444", Carrier: mtwire.WEB, Secret: mtwire.Secret{Mode: mtproxy.Plain, Key: key}},
	} {
		_, err := mtwire.DialEndpoint(t.Context(), ep, config)
		if checked := ep.Check(); checked == nil || err == nil || checked.Error() != err.Error() {
			t.Errorf("%v: %v, and to dial %v", ep.Redacted(), checked, err)
		}
	}
	for _, ep := range []mtwire.Endpoint{
		{}, {DC: 2}, {DC: -2, Carrier: mtwire.HTTP}, {Address: "[::1]:443"},
		{Address: "127.0.0.1:1", Secret: mtwire.Secret{Mode: mtproxy.FakeTLS, Key: key, Domain: "a.example"}},
	} {
		if err := ep.Check(); err != nil {
			t.Errorf("%v: %v", ep.Redacted(), err)
		}
	}
}
