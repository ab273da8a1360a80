package main

import (
	"bufio"
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
	"strconv"

	"github.com/coder/websocket"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire/interop/gotd"
)

// clientCase has the fields of a case that only gotd's cases have.
type clientCase struct {
	// Lead is a prefix of the bare key, by which gotd selects the framing.
	Lead string `json:"lead"`
	// Framing is the framing without a secret, Obfuscated or not.
	Framing    string `json:"framing"`
	Obfuscated bool   `json:"obfuscated"`
	// Clients is the number of clients of a load test; 0 means no load test but
	// one session. LoadClients replaces Clients with interop/run --load.
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
	resolver, list, maxFile, err := c.resolver(u)
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
		return firstStep(ctx, resolver, list)
	}
	key, err := readKey(keyFile)
	if err != nil {
		return err
	}
	if text := os.Getenv("INTEROP_UPGRADES"); text != "" {
		times, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		return throughUpgrades(ctx, resolver, list, key, maxFile, times)
	}
	return gotd.Use(ctx, resolver, list, key, maxFile)
}

// throughUpgrades runs a session during upgrades of the proxy, for which it asks the runner.
func throughUpgrades(ctx context.Context, resolver dcs.Resolver, list dcs.List, key exchange.PublicKey, maxFile, times int) error {
	answers := bufio.NewReader(os.Stdin)
	moved, err := gotd.UseThroughUpgrades(ctx, resolver, list, key, maxFile, times, func() error {
		fmt.Println("upgrade")
		answer, err := answers.ReadString('\n')
		if err == nil && answer != "upgraded\n" {
			err = fmt.Errorf("the answer is %q", answer)
		}
		return err
	})
	if err == nil {
		fmt.Printf("note: %d calls and %d KiB during %d upgrades\n", moved.Calls.Load(), moved.Bytes.Load()>>10, times)
	}
	return err
}

// firstStep performs the first step of a key exchange, which needs no key of the
// server: gotd must get a resPQ with its nonce and an unknown fingerprint.
func firstStep(ctx context.Context, resolver dcs.Resolver, list dcs.List) error {
	other, err := rsa.GenerateKey(rand.Reader, crypto.RSAKeyBits)
	if err != nil {
		return err
	}
	err = gotd.Use(ctx, resolver, list, exchange.PublicKey{RSA: &other.PublicKey}, 0)
	if errors.Is(err, exchange.ErrKeyFingerprintNotFound) {
		return nil
	}
	return fmt.Errorf("no resPQ with an unknown fingerprint: %w", err)
}

// resolver returns gotd's resolver for the endpoint, and the length of the largest
// file that it can send, in bytes.
func (c clientCase) resolver(u *url.URL) (resolver dcs.Resolver, list dcs.List, maxFile int, err error) {
	if u.Scheme == "tg" {
		return c.proxyResolver(u.Query())
	}
	address, err := netip.ParseAddrPort(u.Host)
	if err != nil {
		return nil, list, 0, err
	}
	list.Options = []tg.DCOption{{ID: gotd.DC, IPAddress: address.Addr().String(), Port: int(address.Port()), Static: true}}
	// One connection, because gotd's test server sends a session's answers on its
	// first connection only.
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
			return nil, list, 0, fmt.Errorf("unknown framing %q", c.Framing)
		}
		resolver = dcs.Plain(dcs.PlainOptions{Protocol: framing, Obfuscated: c.Obfuscated})
	default:
		return nil, list, 0, fmt.Errorf("unknown scheme: %s", u)
	}
	return resolver, list, gotd.MaxFile, nil
}

func (c clientCase) proxyResolver(link url.Values) (resolver dcs.Resolver, list dcs.List, maxFile int, err error) {
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
