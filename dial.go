package mtwire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/wsconn"
)

// DialConfig configures a client, in addition to its endpoint. A nil config is a
// config of zeros, and the zero value of every field is usable.
//
// One config may be used for any number of connections at once. Its functions are then
// called concurrently, and Rand is read concurrently: both must be safe for that, as
// crypto/rand.Reader is and a *math/rand.Rand is not. It must not change while a
// connection uses it.
type DialConfig struct {
	// MaxLength limits the length of incoming packets, in bytes, and over HTTP of
	// outgoing ones too. 0 means 16 MiB.
	MaxLength int

	// DialContext opens the TCP connection. ProxyDialer returns one for a SOCKS5 or
	// HTTP proxy, and EnvironmentDialer one for the environment's. Nil means a
	// net.Dialer.
	DialContext DialFunc

	// DialTimeout limits the time until a connection can carry packets: TCP, a proxy,
	// TLS, the WebSocket upgrade and FakeTLS's hellos together. Over HTTP it limits
	// each connection's TCP and TLS. When it has passed, the error is a net.Error with
	// Timeout, and no context's. 0 means 15 seconds, a negative value no limit but the
	// context's and the system's.
	DialTimeout time.Duration

	// KeepAlive configures the probes by which TCP detects a peer that is gone, if the
	// connection from DialContext is a *net.TCPConn. Nil leaves them as DialContext
	// set them: a net.Dialer has them after 15 seconds of silence.
	KeepAlive *net.KeepAliveConfig

	// PingInterval is the time of silence after which a WebSocket server is pinged:
	// see wsconn.DialConfig. It also keeps a connection through a proxy that closes
	// silent ones. 0 means no pings. Other transports have messages of MTProto for it.
	PingInterval time.Duration

	// DataCenters has addresses of data centres, host:port, for DialDC: those that
	// help.getConfig has returned, in the order in which to try them. The public
	// table has the others. Family selects and orders the addresses of the table.
	DataCenters map[DC][]string
	Family      datacenter.Family

	// TLS configures wss, https and WEB. Nil means the system's roots.
	TLS *tls.Config

	// WEBIdleTimeout is how long a session with a WEB proxy goes on after its last Conn
	// was closed. A negative one ends it with its last Conn. 0 means 30 seconds.
	WEBIdleTimeout time.Duration

	// Header is sent with WebSocket, HTTP and WEB requests. Host in it replaces the
	// endpoint's host in the request, neither in the address that is dialled nor in
	// TLS. Without a User-Agent in it, none is sent.
	Header http.Header

	// PacketTimeout and PacketRate limit the time for the rest of a packet of which
	// a part has arrived: see ListenConfig. 0 means no limit. An HTTP client has a
	// limit for a response instead, of two minutes.
	PacketTimeout time.Duration
	PacketRate    int

	// PacketMemory limits the memory for packets that have arrived in part, of all
	// connections that share it; a server is the network that makes room. On an HTTP
	// client a response counts until Receive has returned it, and all those of a
	// connection count together. Nil means no limit but MaxLength for each.
	PacketMemory *PacketMemory

	// ObfuscatedFull allows Full inside obfuscation. The specification has no tag
	// for it, so the server must have ListenConfig.ObfuscatedFull set.
	ObfuscatedFull bool

	// Rand is the source of init payloads, padding and hellos. Nil means
	// crypto/rand.
	Rand io.Reader

	// Time is the clock of a FakeTLS hello. Nil means time.Now.
	Time func() time.Time
}

// Dial connects to an endpoint, named by its URL: see Endpoint. Over TCP and
// WebSocket it returns when the connection is established; an HTTP client connects
// when it sends. ctx applies to Dial only. The caller closes the Conn.
//
// The error is about the endpoint or config, or ctx's, or the network's: Retryable reports
// whether a later try may succeed. It does not quote the secret.
//
//	tcp://149.154.167.51:443?protocol=abridged&obfuscated=true
//	wss://venus.web.telegram.org/apiws
//	tg://proxy?server=proxy.example.com&port=443&secret=ee...
//	tg://webproxy?server=proxy.example.com&secret=dd...
//
// Over WEB a connection is a stream of a session with the proxy, and Dial returns when
// there is a session: the proxy does not confirm a stream. All connections to one proxy
// with one config, a pointer to the same DialConfig or nil, share a session, or several
// if there are more than 100. When a session ends, its connections have an error, for
// which Retryable is true, and the next Dial makes a new session.
func Dial(ctx context.Context, endpoint string, config *DialConfig) (*Conn, error) {
	ep, err := ParseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	return DialEndpoint(ctx, ep, config)
}

// DialEndpoint is Dial for an endpoint that has been parsed, or that the caller has
// put together. If it has a DC, no secret and no Address, it is that data centre: see
// DialDC.
func DialEndpoint(ctx context.Context, ep Endpoint, config *DialConfig) (*Conn, error) {
	if config == nil {
		config = &noConfig
	}
	if ep.byNumber() {
		var err error
		if config, err = ep.locate(config); err != nil {
			return nil, err
		}
	}
	if err := ep.checkAddress(); err != nil {
		return nil, fmt.Errorf("bad endpoint: %w", err)
	}
	if err := ep.complete(); err != nil {
		return nil, fmt.Errorf("bad endpoint: %w", err)
	}
	if ep.Carrier == HTTP {
		return dialHTTP(ep, config)
	}
	timeout := config.dialTimeout()
	limited, cancel := ctx, context.CancelFunc(func() {})
	if timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, timeout)
	}
	defer cancel()
	c, err := dialConn(limited, ep, config)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("dial %s: no connection within %v: %w", ep.Address, timeout, os.ErrDeadlineExceeded)
	}
	return c, err
}

func dialConn(ctx context.Context, ep Endpoint, config *DialConfig) (*Conn, error) {
	conn, err := dialStream(ctx, ep, config)
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

// noConfig is what nil means. Its address is that of the sessions without a config.
var noConfig DialConfig

const defaultDialTimeout = 15 * time.Second

func (config *DialConfig) dialTimeout() time.Duration {
	if config.DialTimeout == 0 {
		return defaultDialTimeout
	}
	return config.DialTimeout
}

// dialContext returns the DialFunc for TCP connections.
func (config *DialConfig) dialContext() DialFunc {
	dial := config.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	if config.KeepAlive == nil {
		return dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err == nil {
			setKeepAlive(conn, config.KeepAlive)
		}
		return conn, err
	}
}

// setKeepAlive configures TCP's probes on conn if it is a socket and config is not nil.
// An error is one that the next read or write returns too.
func setKeepAlive(conn net.Conn, config *net.KeepAliveConfig) {
	if socket, ok := conn.(*net.TCPConn); ok && config != nil {
		_ = socket.SetKeepAliveConfig(*config)
	}
}

// dialStream opens the byte stream of a TCP, WebSocket or WEB endpoint.
func dialStream(ctx context.Context, ep Endpoint, config *DialConfig) (net.Conn, error) {
	switch ep.Carrier {
	case TCP:
		return config.dialContext()(ctx, "tcp", ep.Address)
	case WEB:
		return dialWEB(ctx, ep.webLink(), config)
	}
	return wsconn.Dial(ctx, ep.url().String(), &wsconn.DialConfig{
		Header:          config.Header,
		TLSClientConfig: config.TLS,
		DialContext:     config.dialContext(),
		PingInterval:    config.PingInterval,
	})
}

func dialHTTP(ep Endpoint, config *DialConfig) (*Conn, error) {
	responses := newResponses(config.PacketMemory)
	client, err := httpconn.NewClient(ep.url().String(), &httpconn.ClientConfig{
		MaxLength:       config.MaxLength,
		Reserve:         responses.reserve,
		Header:          config.Header,
		TLSClientConfig: config.TLS,
		DialContext:     config.dialContext(),
		DialTimeout:     config.dialTimeout(),
	})
	if err != nil {
		return nil, err
	}
	responses.client = client
	c := &Conn{side: frame.Client, http: &httpClient{client, responses}, transport: Transport{Carrier: HTTP, TLS: ep.TLS, Secret: -1}}
	c.ready.Store(true)
	return c, nil
}

// Client returns the client's end of a connection over conn, an open byte stream
// such as a TCP connection, a tunnel or a *wsconn.Conn. It uses the protocol,
// obfuscation, secret and DC of the endpoint; a *wsconn.Conn is a WebSocket, and needs
// obfuscation, whatever the endpoint's carrier is. With a FakeTLS secret it exchanges
// hellos, for which ctx applies; otherwise it sends nothing.
//
// The Conn owns conn. On error, conn stays open and belongs to the caller.
func Client(ctx context.Context, conn net.Conn, ep Endpoint, config *DialConfig) (*Conn, error) {
	if config == nil {
		config = &DialConfig{}
	}
	ws, overWebSocket := netx.Below[*wsconn.Conn](conn)
	_, overTLS := netx.Below[*tls.Conn](conn)
	if overWebSocket && ep.Carrier == TCP {
		ep.Carrier, ep.TLS = WebSocket, overTLS
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
	conn = netx.WithDeadlines(conn)
	c := &Conn{net: conn, side: frame.Client, transport: Transport{
		Carrier: ep.Carrier, TLS: ep.TLS || overTLS, Obfuscated: ep.Obfuscated, Protocol: ep.Protocol, DC: ep.DC, Secret: -1,
	}}
	c.websocket = ws

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
		initConfig := &obfuscation.ClientConfig{
			Protocol: ep.Protocol, DC: ep.DC, AllowFull: config.ObfuscatedFull, Rand: config.Rand,
		}
		if ep.Secret != (Secret{}) {
			initConfig.Key = &ep.Secret.Key
		}
		obfuscated, err := obfuscation.Client(conn, initConfig)
		if err != nil {
			return nil, err
		}
		conn = obfuscated
	}
	c.stream = newStream(conn, ep.Protocol, frame.Client, config.MaxLength,
		&packetLimits{timeout: max(0, config.PacketTimeout), rate: config.PacketRate, memory: config.PacketMemory}, config.Rand)
	if !ep.Obfuscated {
		c.stream.out.header = ep.Protocol.Header()
	}
	c.ready.Store(true)
	return c, nil
}
