package mtwire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/wsconn"
)

// DialConfig is what a client can choose beside the endpoint. Nil is good, and
// so is the zero value of every field.
type DialConfig struct {
	// MaxLength limits incoming packets, in bytes, over HTTP outgoing ones as
	// well. 0 means 16 MiB.
	MaxLength int

	// DialContext opens the TCP connection. Nil means a net.Dialer. This is
	// where a SOCKS5 proxy goes.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLS is for wss and https. Nil means the system's roots.
	TLS *tls.Config

	// Header is sent with WebSocket and HTTP requests.
	Header http.Header

	// ObfuscatedFull allows Full inside obfuscation. The specification has no
	// tag for it; only a server with the same setting understands.
	ObfuscatedFull bool

	// Rand is the source of init payloads, padding and hellos. Nil means the
	// system's.
	Rand io.Reader

	// Time is the clock that FakeTLS shows to the server. Nil means time.Now.
	Time func() time.Time
}

// Dial connects to an endpoint, named by its URL; see Endpoint. With TCP and
// WebSocket it returns when the connection stands; an HTTP client connects
// when it sends. ctx bounds Dial alone.
//
//	tcp://149.154.167.51:443?protocol=abridged&obfuscated=true
//	wss://venus.web.telegram.org/apiws
//	tg://proxy?server=proxy.example.com&port=443&secret=ee...
func Dial(ctx context.Context, endpoint string, config *DialConfig) (*Conn, error) {
	ep, err := ParseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	return DialEndpoint(ctx, ep, config)
}

// DialEndpoint is Dial for an endpoint that has been read already, or put
// together by hand.
func DialEndpoint(ctx context.Context, ep Endpoint, config *DialConfig) (*Conn, error) {
	if err := ep.checkAddress(); err != nil {
		return nil, fmt.Errorf("bad endpoint: %w", err)
	}
	if err := ep.complete(); err != nil {
		return nil, fmt.Errorf("bad endpoint: %w", err)
	}
	if config == nil {
		config = &DialConfig{}
	}
	switch ep.Carrier {
	case HTTP:
		return dialHTTP(ep, config)
	case WebSocket:
		return dialWebSocket(ctx, ep, config)
	}
	return dialTCP(ctx, ep, config)
}

func (config *DialConfig) dial() func(ctx context.Context, network, address string) (net.Conn, error) {
	if config.DialContext != nil {
		return config.DialContext
	}
	return (&net.Dialer{}).DialContext
}

func dialTCP(ctx context.Context, ep Endpoint, config *DialConfig) (*Conn, error) {
	conn, err := config.dial()(ctx, "tcp", ep.Address)
	if err != nil {
		return nil, err
	}
	c, err := Client(ctx, conn, ep, config)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func dialWebSocket(ctx context.Context, ep Endpoint, config *DialConfig) (*Conn, error) {
	u := url.URL{Scheme: "ws", Host: ep.Address, Path: ep.Path}
	if ep.TLS {
		u.Scheme = "wss"
	}
	ws, err := wsconn.Dial(ctx, u.String(), &wsconn.DialConfig{
		Header:          config.Header,
		TLSClientConfig: config.TLS,
		DialContext:     config.dial(),
	})
	if err != nil {
		return nil, err
	}
	c, err := Client(ctx, ws, ep, config)
	if err != nil {
		ws.Close()
		return nil, err
	}
	return c, nil
}

func dialHTTP(ep Endpoint, config *DialConfig) (*Conn, error) {
	u := url.URL{Scheme: "http", Host: ep.Address, Path: ep.Path}
	if ep.TLS {
		u.Scheme = "https"
	}
	client, err := httpconn.NewClient(u.String(), &httpconn.ClientConfig{
		MaxLength:       config.MaxLength,
		Header:          config.Header,
		TLSClientConfig: config.TLS,
		DialContext:     config.dial(),
	})
	if err != nil {
		return nil, err
	}
	c := &Conn{side: frame.Client, http: client, transport: Transport{Carrier: HTTP, TLS: ep.TLS, Secret: -1}}
	c.ready.Store(true)
	return c, nil
}

// Client starts a connection on a byte stream that is open already: TCP, a
// tunnel, a *wsconn.Conn. Of the endpoint it needs what lies above that:
// protocol, obfuscation, secret and DC. With a FakeTLS secret it exchanges
// hellos within ctx; otherwise nothing is sent before the first packet.
//
// On error the byte stream is left open.
func Client(ctx context.Context, conn net.Conn, ep Endpoint, config *DialConfig) (*Conn, error) {
	if config == nil {
		config = &DialConfig{}
	}
	if err := ep.complete(); err != nil {
		return nil, fmt.Errorf("bad endpoint: %w", err)
	}
	if ep.Carrier == HTTP {
		return nil, errors.New("bad endpoint: HTTP does not run on one byte stream")
	}
	if ep.Protocol == Full && ep.Obfuscated && !config.ObfuscatedFull {
		return nil, obfuscation.ErrFull
	}
	c := &Conn{net: conn, side: frame.Client, transport: Transport{
		Carrier: ep.Carrier, TLS: ep.TLS, Obfuscated: ep.Obfuscated, Protocol: ep.Protocol, DC: ep.DC, Secret: -1,
	}}
	c.websocket, _ = conn.(*wsconn.Conn)

	if ep.Secret.Mode == mtproxy.FakeTLS {
		records := faketls.Client(conn, &faketls.ClientConfig{
			Key: ep.Secret.Key, Domain: ep.Secret.Domain, Time: config.Time, Rand: config.Rand,
		})
		if err := records.Handshake(ctx); err != nil {
			return nil, err
		}
		c.transport.FakeTLS = true
		conn = records
	}
	if ep.Obfuscated {
		hidden := &obfuscation.ClientConfig{
			Protocol: ep.Protocol, DC: ep.DC, AllowFull: config.ObfuscatedFull, Rand: config.Rand,
		}
		if ep.Secret != (Secret{}) {
			hidden.Key = &ep.Secret.Key
		}
		obfuscated, err := obfuscation.Client(conn, hidden)
		if err != nil {
			return nil, err
		}
		conn = obfuscated
	}
	c.stream = newStream(conn, ep.Protocol, frame.Client, config.MaxLength, config.Rand)
	if !ep.Obfuscated {
		c.stream.out.header = ep.Protocol.Header()
	}
	c.ready.Store(true)
	return c, nil
}
