package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"

	"github.com/coder/websocket"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire/interop/gotd"
)

// clientCase is what gotd's cases have for gotd.
type clientCase struct {
	// Lead is put in front of the bare key: gotd chooses the framing by it.
	Lead string `json:"lead"`
	// Framing is what is spoken without a secret, in clear or obfuscated.
	Framing    string `json:"framing"`
	Obfuscated bool   `json:"obfuscated"`
	// Clients is how many there are, for a load; 0 is one that goes through a
	// whole session. LoadClients is how many with interop/run --load.
	Clients     int `json:"clients"`
	LoadClients int `json:"load_clients"`
}

var framings = map[string]dcs.Protocol{
	"abridged":     transport.Abridged,
	"intermediate": transport.Intermediate,
	"padded":       transport.PaddedIntermediate,
	"full":         transport.Full,
}

func drive(ctx context.Context, endpoint, text string) error {
	var c clientCase
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	resolver, list, maxFile, err := c.connect(u)
	if err != nil {
		return err
	}
	switch {
	case c.Clients > 0 && os.Getenv("INTEROP_LOAD") != "":
		return load(ctx, resolver, c.LoadClients, fullLoad)
	case c.Clients > 0:
		return load(ctx, resolver, c.Clients, shortLoad)
	}
	keyFile := os.Getenv("INTEROP_SERVER_KEY")
	if keyFile == "" {
		return greet(ctx, resolver, list)
	}
	key, err := readKey(keyFile)
	if err != nil {
		return err
	}
	return gotd.Use(ctx, resolver, list, key, maxFile)
}

// greet goes as far as one can without the server's key: to a resPQ with a
// nonce of gotd's and the fingerprint of another key.
func greet(ctx context.Context, resolver dcs.Resolver, list dcs.List) error {
	other, err := rsa.GenerateKey(rand.Reader, crypto.RSAKeyBits)
	if err != nil {
		return err
	}
	err = gotd.Use(ctx, resolver, list, exchange.PublicKey{RSA: &other.PublicKey}, 0)
	if errors.Is(err, exchange.ErrKeyFingerprintNotFound) {
		return nil
	}
	return fmt.Errorf("no resPQ with another key's fingerprint: %w", err)
}

// connect is gotd's way to the endpoint, and the largest file that goes there.
func (c clientCase) connect(u *url.URL) (resolver dcs.Resolver, list dcs.List, maxFile int, err error) {
	if u.Scheme == "tg" {
		return c.connectProxy(u.Query())
	}
	address, err := netip.ParseAddrPort(u.Host)
	if err != nil {
		return nil, list, 0, err
	}
	list.Options = []tg.DCOption{{ID: gotd.DC, IPAddress: address.Addr().String(), Port: int(address.Port()), Static: true}}
	// A server ties a session to all connections of a client; gotd's test
	// server, behind the bridge, ties it to the first.
	carrier := &http.Transport{MaxConnsPerHost: 1}
	if u.Scheme == "wss" || u.Scheme == "https" {
		if carrier.TLSClientConfig, err = trust(os.Getenv("INTEROP_CERTIFICATE")); err != nil {
			return nil, list, 0, err
		}
	}
	switch u.Scheme {
	case "ws", "wss":
		list.Domains = map[int]string{gotd.DC: u.String()}
		resolver = dcs.Websocket(dcs.WebsocketOptions{DialOptions: &websocket.DialOptions{
			Subprotocols: []string{"binary"},
			HTTPClient:   &http.Client{Transport: carrier},
		}})
	case "http", "https":
		resolver = dcs.HTTP(dcs.HTTPOptions{Client: &http.Client{Transport: carrier}, Scheme: u.Scheme, Port: int(address.Port())})
	case "tcp":
		framing, ok := framings[c.Framing]
		if !ok {
			return nil, list, 0, fmt.Errorf("no framing is called %q", c.Framing)
		}
		resolver = dcs.Plain(dcs.PlainOptions{Protocol: framing, Obfuscated: c.Obfuscated})
	default:
		return nil, list, 0, fmt.Errorf("cannot connect to %s", u)
	}
	return resolver, list, gotd.MaxFile, nil
}

func (c clientCase) connectProxy(link url.Values) (resolver dcs.Resolver, list dcs.List, maxFile int, err error) {
	secret, err := hex.DecodeString(c.Lead + link.Get("secret"))
	if err != nil {
		return nil, list, 0, err
	}
	maxFile = gotd.MaxFile
	if len(secret) > 17 {
		maxFile = gotd.MaxFileFakeTLS
	}
	resolver, err = dcs.MTProxy(net.JoinHostPort(link.Get("server"), link.Get("port")), secret, dcs.MTProxyOptions{})
	return resolver, list, maxFile, err
}
