package mtwire

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/wsconn"
)

// The reasons for which a client is unauthenticated, besides faketls.ErrStaleClock
// and faketls.ErrMalformed. Test for them with errors.Is.
var (
	// ErrHandshakeTimeout means that a client sent only a part of its handshake in
	// time.
	ErrHandshakeTimeout = handshake.ErrTimeout
	// ErrNoMatch means that no secret matches what the client sent.
	ErrNoMatch = handshake.ErrNoMatch
	// ErrWrongServerName means that a FakeTLS hello with the key of a secret names
	// another host than the secret.
	ErrWrongServerName = handshake.ErrWrongServerName
	// ErrReplay means that ListenConfig.Replay returned true.
	ErrReplay = handshake.ErrReplay
)

// UnauthenticatedError is the handshake's error for an unauthenticated client: its
// first bytes are no transport that the server accepts, or no secret matches.
type UnauthenticatedError struct {
	// First is what the client sent.
	First []byte
	// Err is the reason.
	Err error
}

// Error returns the reason and at most 16 of the client's bytes.
func (e *UnauthenticatedError) Error() string {
	if len(e.First) == 0 {
		return fmt.Sprintf("unauthenticated: %v; no bytes received", e.Err)
	}
	return fmt.Sprintf("unauthenticated: %v; first bytes % x", e.Err, e.First[:min(len(e.First), 16)])
}

// Unwrap returns the reason.
func (e *UnauthenticatedError) Unwrap() error { return e.Err }

// ListenConfig configures a server. A nil config is a config of zeros: a server that
// accepts every transport from every client. It must not change while it is in use,
// and may be used for several listeners.
//
// Its functions, also those in TLS, HTTP and WebSocket, are called concurrently for
// different connections, and one after the other for the same one. They are called by
// the goroutine of the handshake, or of a request, which waits for them: only that
// client is delayed. Rand too must be safe for concurrent use, as crypto/rand.Reader is
// and a *math/rand.Rand is not.
type ListenConfig struct {
	// Secrets are the secrets of an MTProxy. If there are any, a client must have
	// the key of one of them, and may use it in any mode. All other clients are
	// unauthenticated and get no answer, even those with a plain framing or an HTTP
	// request. The zero Secret is no client's: Listen returns an error for one, which
	// other functions cannot.
	Secrets []Secret

	// FakeTLSOnly accepts FakeTLS only. A client is then rejected at the first byte
	// that differs from every FakeTLS hello. Without FakeTLSOnly, the server waits
	// for 64 bytes, since they may be an init payload.
	FakeTLSOnly bool

	// AllowNoSecret accepts clients without a secret too.
	AllowNoSecret bool

	// ObfuscatedFull accepts an init payload without a tag for Full, if the bytes
	// behind it can be Full's first frame. The specification has no tag for Full,
	// and few clients obfuscate it.
	ObfuscatedFull bool

	// MaxLength limits the length of incoming packets, in bytes, and over HTTP of
	// outgoing ones too. 0 means 16 MiB.
	MaxLength int

	// PacketTimeout limits the time for the rest of a packet, from its first byte
	// on, and PacketRate extends it by a second for so many bytes that have
	// arrived: a client that sends faster than PacketRate has any time. Only the
	// time counts for which Receive waits for the client, in all calls together: a
	// server that does not call Receive is no client's fault, and a context that
	// ends Receive early gains no time. Over TLS the bytes of a record arrive when
	// it is complete. Afterwards the error is ErrPacketTimeout.
	//
	// 0 means 30 seconds and 16 KiB a second. A negative PacketTimeout means no
	// limit, a negative PacketRate no extension. For the requests of an HTTP client
	// HTTP.RequestTimeout takes precedence, if it is set.
	PacketTimeout time.Duration
	PacketRate    int

	// PacketMemory limits the memory for packets that have arrived in part. Nil
	// means that each Listener, and each call of Server, has 128 MiB of its own.
	// Until its transport is known, a connection holds 64 KiB at most, and not for
	// longer than HandshakeTimeout.
	PacketMemory *PacketMemory

	// HandshakeTimeout limits the time from a client's first byte until its
	// transport is known. 0 means 10 to 15 seconds, drawn at random for each
	// connection, so that the limit is no fingerprint. Before the first byte only
	// the context limits the time: official clients open connections in advance.
	HandshakeTimeout time.Duration

	// Unauthenticated is called with the connection of an unauthenticated client,
	// for instance to tunnel it to another server. All bytes that the client sent
	// can be read from conn. Unauthenticated owns conn until it returns; conn is
	// then closed, and Handshake returns err. ctx is Handshake's.
	//
	// Nil means that the server reads from the client for the rest of
	// HandshakeTimeout and answers nothing. The caller of Handshake closes the
	// connection.
	Unauthenticated func(ctx context.Context, conn net.Conn, err error)

	// Allow returns an error to make an authenticated client unauthenticated for
	// its transport: an MTProxy that accepts FakeTLS only, for instance. It is
	// called once for each client, with the complete Transport, before any packet
	// or HTTP request is read. Nothing but a TLS, FakeTLS or WebSocket handshake was
	// answered before. Nil allows all clients.
	//
	// A panic in Allow, or in another function of the config, is one in the
	// goroutine that called Handshake, Send or Receive.
	Allow func(t Transport) error

	// Replay stores id, which identifies a FakeTLS hello or an init payload, and
	// reports whether it was stored before. It is called after a secret's key has
	// matched, so that others cannot fill its memory; also if the client is rejected
	// for its clock, server name or transport, so that no replay is accepted later.
	// Nil stores nothing.
	Replay func(id [16]byte) (seen bool)

	// ClockWindow limits the difference between the time in a FakeTLS hello and
	// the server's. 0 means 120 seconds, a negative value no limit.
	ClockWindow time.Duration

	// ServerHello returns the shape of the answer to a FakeTLS hello for a host.
	// Nil means the zero shape.
	ServerHello func(serverName string) faketls.ServerHelloShape

	// TLS configures wss and https, and must have a certificate. HTTP/2 is not
	// negotiated, even if NextProtos has it. Nil means no TLS.
	TLS *tls.Config

	// KeepAlive configures the probes by which TCP detects a peer that is gone, on
	// connections that a Listener accepts and that are a *net.TCPConn. Nil leaves them
	// as the net.Listener set them: Listen has them after 15 seconds of silence. For
	// WebSocket there is also WebSocket.PingInterval.
	KeepAlive *net.KeepAliveConfig

	// HTTP and WebSocket configure these carriers. They may be nil. MaxLength
	// overrides HTTP.MaxLength.
	HTTP      *httpconn.ServerConfig
	WebSocket *wsconn.ServerConfig

	// Time is the clock for FakeTLS. Nil means time.Now. Rand is the source of
	// padding and of FakeTLS's random parts. Nil means crypto/rand, and for the
	// latter a generator that crypto/rand seeds.
	Time func() time.Time
	Rand io.Reader
}

// serverSettings is a ListenConfig and what is derived from it once.
type serverSettings struct {
	ListenConfig
	handshake handshake.Config
	keys      *mtproxy.KeySet
	limits    packetLimits
}

func newServerSettings(config *ListenConfig) *serverSettings {
	s := &serverSettings{}
	if config != nil {
		s.ListenConfig = *config
	}
	s.limits = packetLimits{
		timeout: max(0, cmp.Or(s.PacketTimeout, defaultPacketTimeout)),
		rate:    cmp.Or(s.PacketRate, defaultPacketRate),
		memory:  s.PacketMemory,
	}
	if s.limits.memory == nil {
		s.limits.memory = NewPacketMemory(defaultPacketMemory)
	}
	s.keys = mtproxy.NewKeySet(s.Secrets...)
	s.handshake = handshake.Config{
		Secrets:        len(s.Secrets) > 0,
		FakeTLSOnly:    s.FakeTLSOnly,
		AllowNoSecret:  s.AllowNoSecret,
		ObfuscatedFull: s.ObfuscatedFull,
		MaxLength:      s.MaxLength,
		Timeout:        s.HandshakeTimeout,
		ClockWindow:    s.ClockWindow,
		TLS:            netx.WithoutHTTP2(s.TLS),
		WebSocket:      s.WebSocket,
		Time:           s.Time,
		Rand:           s.Rand,
	}
	return s
}

// secretFor returns the index of the first secret that has the same key as the
// secret at index key and matches the server name, or -1. Secrets for several
// domains may share a key.
func (s *serverSettings) secretFor(key int, name string) int {
	for i := key; i < len(s.Secrets); i++ {
		secret := &s.Secrets[i]
		matches := secret.Domain == "" || name == "" || strings.EqualFold(secret.Domain, name)
		if matches && secret.Key == s.Secrets[key].Key {
			return i
		}
	}
	return -1
}

// listenAuth is the handshake.Auth of a ListenConfig.
type listenAuth struct{ *serverSettings }

// Find tries all secrets in order. A hello without a server name matches any domain:
// several versions of Telegram for iOS send none.
func (a listenAuth) Find(_ context.Context, q handshake.Query, try func(*mtproxy.KeySet) int) (int, error) {
	i := try(a.keys)
	if i < 0 || a.Secrets[i] == (Secret{}) {
		return -1, ErrNoMatch
	}
	if q.FakeTLS {
		if i = a.secretFor(i, q.ServerName); i < 0 {
			return i, fmt.Errorf("%w: %q", ErrWrongServerName, q.ServerName)
		}
	}
	return i, nil
}

func (a listenAuth) Allow(t Transport, _ int) error {
	if a.ListenConfig.Allow == nil {
		return nil
	}
	return a.ListenConfig.Allow(t)
}

func (a listenAuth) Replayed(id [16]byte) bool { return a.Replay != nil && a.Replay(id) }

func (a listenAuth) ServerHello(hello *faketls.ClientHello) (shape faketls.ServerHelloShape, patience time.Duration, err error) {
	if a.ListenConfig.ServerHello != nil {
		shape = a.ListenConfig.ServerHello(hello.SNI)
	}
	return shape, 0, nil
}

func (a listenAuth) Undecided([]byte) {}

// reject ends a handshake that failed with err. An unauthenticated client's
// connection is passed to the Unauthenticated hook, or read from without an answer.
// It returns the error for the caller of Handshake.
func (s *serverSettings) reject(ctx context.Context, conn net.Conn, err error) error {
	var rejected *handshake.UnauthenticatedError
	if !errors.As(err, &rejected) {
		return err
	}
	err = &UnauthenticatedError{First: rejected.First, Err: rejected.Err}
	switch {
	case rejected.Answered:
	case s.Unauthenticated != nil:
		s.Unauthenticated(ctx, handshake.Replay(conn, rejected.First), err)
		conn.Close()
	default:
		rejected.Discard(ctx, conn)
	}
	return err
}

// http returns the configuration of an HTTP connection.
func (s *serverSettings) http() *httpconn.ServerConfig {
	config := httpconn.ServerConfig{}
	if s.HTTP != nil {
		config = *s.HTTP
	}
	if s.MaxLength > 0 {
		config.MaxLength = s.MaxLength
	}
	return &config
}

// Listener accepts connections of all transports on one port.
type Listener struct {
	net      net.Listener
	settings atomic.Pointer[serverSettings]
	shutdown shutdown
}

// Listen opens a TCP or Unix socket; see net.Listen for network, address and errors. A zero
// Secret in config is an error as well. The caller closes the Listener.
func Listen(network, address string, config *ListenConfig) (*Listener, error) {
	if config != nil {
		if i := slices.Index(config.Secrets, Secret{}); i >= 0 {
			return nil, fmt.Errorf("ListenConfig.Secrets[%d] is the zero Secret, which is none", i)
		}
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return NewListener(ln, config), nil
}

// NewListener returns a Listener that accepts from ln.
func NewListener(ln net.Listener, config *ListenConfig) *Listener {
	l := &Listener{net: ln}
	l.settings.Store(newServerSettings(config))
	return l
}

// SetConfig replaces the configuration for the connections that are accepted from then on, such as
// other secrets. Those before keep theirs, and the memory for their packets, which the next ones
// share if config has no PacketMemory. It keeps config's slices and may be called concurrently.
func (l *Listener) SetConfig(config *ListenConfig) {
	next := ListenConfig{}
	if config != nil {
		next = *config
	}
	if next.PacketMemory == nil {
		next.PacketMemory = l.settings.Load().limits.memory
	}
	l.settings.Store(newServerSettings(&next))
}

// Accept returns the next connection. It reads nothing from it, so that a silent
// client delays no other. Handshake, which the first Receive calls, detects the
// transport. The caller closes the Conn. The error is that of the socket, and net.ErrClosed
// after Close. Accept may be called concurrently.
func (l *Listener) Accept() (*Conn, error) {
	conn, err := l.net.Accept()
	if err != nil {
		return nil, err
	}
	return l.accepted(conn), nil
}

func (l *Listener) accepted(socket net.Conn) *Conn {
	settings := l.settings.Load()
	setKeepAlive(socket, settings.KeepAlive)
	return newServerConn(socket, settings)
}

// Close stops listening. Connections returned by Accept stay open. Serve returns and
// closes those that it serves.
func (l *Listener) Close() error { return l.net.Close() }

// Addr returns the listener's address.
func (l *Listener) Addr() net.Addr { return l.net.Addr() }

// Server returns the server's end of a connection over conn, which was accepted
// elsewhere and which the Conn owns. It reads nothing before Handshake.
//
// A *wsconn.Conn is a WebSocket, in which only obfuscation is accepted; its handshake is
// answered, so Unauthenticated is not called. A *tls.Conn is TLS, in which everything but
// FakeTLS is accepted; Handshake completes that of TLS, within HandshakeTimeout. Either
// may be below other connections that have a method NetConn.
func Server(conn net.Conn, config *ListenConfig) *Conn {
	return newServerConn(conn, newServerSettings(config))
}

func newServerConn(conn net.Conn, settings *serverSettings) *Conn {
	conn = netx.WithDeadlines(conn)
	c := &Conn{net: conn, side: frame.Server, settings: settings}
	h := handshake.New(conn)
	h.DetectLayers()
	c.handshake.Store(h)
	return c
}

// Serve accepts connections and calls handle for each in a goroutine of its own. It
// closes the connection when handle returns. When ctx ends or the listener fails,
// Serve closes the listener and all connections, waits for the handlers, and returns
// the cause; after Shutdown, it returns ErrShutdown. If the system has no descriptor or
// memory for another connection, it tries again after a pause.
func (l *Listener) Serve(ctx context.Context, handle func(ctx context.Context, conn *Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	var open connSet
	var handlers, others sync.WaitGroup
	defer others.Wait()
	defer handlers.Wait()
	defer cancel() // runs before the waits
	if !l.shutdown.enter(&open) {
		return ErrShutdown
	}
	defer l.shutdown.leave(&open)
	others.Go(func() {
		<-ctx.Done()
		l.Close()
		open.close(&others) // ends handlers that ignore ctx
	})

	err := netx.AcceptLoop(ctx, l.net, func(socket net.Conn) {
		conn := l.accepted(socket)
		open.add(conn)
		handlers.Go(func() {
			defer open.remove(conn)
			handle(ctx, conn)
		})
	}, nil)
	if ctx.Err() == nil && l.shutdown.begun() {
		l.shutdown.await(ctx, &handlers)
		err = ErrShutdown
	}
	return err
}
