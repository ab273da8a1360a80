package mtwire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/wsconn"
)

// Why a client is not authenticated, besides faketls.ErrStaleClock and
// faketls.ErrMalformed. Find them with errors.Is.
var (
	// ErrHandshakeTimeout means that a client sent a part of its handshake and
	// not the rest in time.
	ErrHandshakeTimeout = handshake.ErrTimeout
	// ErrNoMatch means that no secret fits what the client sent.
	ErrNoMatch = handshake.ErrNoMatch
	// ErrWrongServerName means that a FakeTLS hello with a known key names
	// another host than its secret.
	ErrWrongServerName = handshake.ErrWrongServerName
	// ErrReplay means that ListenConfig.Replay has seen the handshake before.
	ErrReplay = handshake.ErrReplay
)

// UnauthenticatedError ends the handshake of a client whose first bytes are no
// transport that the server accepts, or that no secret fits.
type UnauthenticatedError struct {
	// First is what the client sent.
	First []byte
	// Err is the reason.
	Err error
}

// Error returns the reason and at most 16 of the client's bytes.
func (e *UnauthenticatedError) Error() string {
	if len(e.First) == 0 {
		return fmt.Sprintf("unauthenticated: %v; nothing came", e.Err)
	}
	return fmt.Sprintf("unauthenticated: %v; it begins with % x", e.Err, e.First[:min(len(e.First), 16)])
}

// Unwrap returns the reason.
func (e *UnauthenticatedError) Unwrap() error { return e.Err }

// ListenConfig is what a server can choose. Nil is good, and so is the zero value
// of every field: a server that accepts every transport from every client. It
// must not change while it is in use, and may serve several listeners.
type ListenConfig struct {
	// Secrets are those of an MTProxy. With any here, a client must have one:
	// everything else is unauthenticated, even a plain framing or an HTTP
	// request, and gets no answer. FakeTLS needs a secret; any mode's key will
	// do.
	Secrets []Secret

	// FakeTLSOnly accepts FakeTLS alone. Then a client is rejected at the first
	// byte that no FakeTLS hello has in its place. Without it there may be an
	// init payload to wait for, as a web server in place of Unauthenticated would
	// not.
	FakeTLSOnly bool

	// AllowNoSecret serves clients without a secret beside those with one.
	AllowNoSecret bool

	// ObfuscatedFull accepts an init payload without a tag for Full, if what
	// follows it can be Full's first frame. The specification has no tag for it,
	// and few clients do this.
	ObfuscatedFull bool

	// MaxLength limits incoming packets, in bytes, over HTTP outgoing ones as
	// well. 0 means 16 MiB.
	MaxLength int

	// HandshakeTimeout bounds the time from a client's first byte until its
	// transport is known. 0 means between 10 and 15 seconds, drawn for each
	// connection, so that the limit is no fingerprint. Only the context limits
	// how long a client may be silent before its first byte: official clients
	// open connections ahead of need.
	HandshakeTimeout time.Duration

	// Unauthenticated is called with every connection whose client is not
	// authenticated, with all its bytes still to be read: to tunnel it to
	// another server, for instance. It owns conn until it returns; conn is then
	// closed and Handshake returns err. ctx is Handshake's.
	//
	// Nil means that the server reads on for the rest of HandshakeTimeout,
	// answers nothing, and leaves the connection to be closed.
	Unauthenticated func(ctx context.Context, conn net.Conn, err error)

	// Allow may refuse a client that has a secret, or that needs none, for its
	// transport, as an MTProxy does that accepts FakeTLS only. It is called once
	// for clients that sent an init payload, with a complete Transport, before
	// anything but a FakeTLS or WebSocket handshake was answered. An error makes
	// the client unauthenticated. Nil means that all are served.
	Allow func(t Transport) error

	// Replay remembers id, which stands for one FakeTLS hello or one init
	// payload, and reports whether it was remembered already. It is called after
	// a secret has matched, so unauthenticated clients cannot fill its memory.
	// Nil means that nothing is remembered.
	Replay func(id [16]byte) (seen bool)

	// ClockWindow limits the difference of the clock in a FakeTLS hello from
	// ours. 0 means 120 seconds, a negative value no limit.
	ClockWindow time.Duration

	// ServerHello returns the shape of the answer to a FakeTLS hello for a host.
	// Nil means the zero shape.
	ServerHello func(serverName string) faketls.ServerHelloShape

	// TLS serves wss and https, and needs a certificate. HTTP/2 is not
	// negotiated, even if NextProtos has it. Nil means no TLS.
	TLS *tls.Config

	// HTTP and WebSocket configure these carriers; nil is fine. MaxLength takes
	// precedence over HTTP.MaxLength.
	HTTP      *httpconn.ServerConfig
	WebSocket *wsconn.ServerConfig

	// Time is the clock for FakeTLS, nil time.Now. Rand is the source of padding
	// and of FakeTLS's random parts, nil the system's.
	Time func() time.Time
	Rand io.Reader
}

// serverSettings is a ListenConfig made ready.
type serverSettings struct {
	ListenConfig
	handshake handshake.Config
	keys      *mtproxy.KeySet
}

func newServerSettings(config *ListenConfig) *serverSettings {
	s := &serverSettings{}
	if config != nil {
		s.ListenConfig = *config
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

// secretFor returns the first secret with the same key as the given one whose
// domain fits, or -1. One key may be handed out for several domains.
func (s *serverSettings) secretFor(key int, name string) int {
	for i := key; i < len(s.Secrets); i++ {
		secret := &s.Secrets[i]
		fits := secret.Domain == "" || name == "" || strings.EqualFold(secret.Domain, name)
		if fits && secret.Key == s.Secrets[key].Key {
			return i
		}
	}
	return -1
}

// listenAuth is the handshake.Auth of a ListenConfig.
type listenAuth struct{ *serverSettings }

// Find tries all secrets in order. A hello without a server name passes: several
// versions of Telegram for iOS send none.
func (a listenAuth) Find(q handshake.Query, try func(*mtproxy.KeySet) int) (int, error) {
	i := try(a.keys)
	if i < 0 {
		return i, ErrNoMatch
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

func (a listenAuth) ServerHello(hello *faketls.ClientHello) (shape faketls.ServerHelloShape, patience time.Duration) {
	if a.ListenConfig.ServerHello != nil {
		shape = a.ListenConfig.ServerHello(hello.SNI)
	}
	return shape, 0
}

func (a listenAuth) Undecided([]byte) {}

// reject deals with a client that is not authenticated, err being a handshake's:
// it hands the connection over, or reads on and answers nothing.
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

// http returns the configuration of HTTP connections.
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

// Listener accepts connections of every transport on one port.
type Listener struct {
	net      net.Listener
	settings *serverSettings
}

// Listen opens a TCP or Unix socket; see net.Listen for network and address.
func Listen(network, address string, config *ListenConfig) (*Listener, error) {
	ln, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return NewListener(ln, config), nil
}

// NewListener returns a Listener that accepts from ln.
func NewListener(ln net.Listener, config *ListenConfig) *Listener {
	return &Listener{net: ln, settings: newServerSettings(config)}
}

// Accept returns the next connection, at once: it reads nothing from it. The
// Conn's Handshake, which its first Receive calls, detects the transport, so a
// silent client blocks no other.
func (l *Listener) Accept() (*Conn, error) {
	conn, err := l.net.Accept()
	if err != nil {
		return nil, err
	}
	return newServerConn(conn, l.settings), nil
}

// Close stops listening. Connections that Accept returned go on; Serve returns,
// and closes those it serves.
func (l *Listener) Close() error { return l.net.Close() }

// Addr returns the address listened on.
func (l *Listener) Addr() net.Addr { return l.net.Addr() }

// Server serves one connection that was accepted elsewhere. Nothing is read
// from it before Handshake.
func Server(conn net.Conn, config *ListenConfig) *Conn {
	return newServerConn(conn, newServerSettings(config))
}

func newServerConn(conn net.Conn, settings *serverSettings) *Conn {
	c := &Conn{net: conn, side: frame.Server, settings: settings}
	c.server.Store(handshake.New(conn))
	return c
}

// Serve accepts connections and gives each to handle, in a goroutine of its
// own, and closes it when handle returns. When ctx ends, or Accept fails for
// good, it closes the listener and all connections, waits for the handlers,
// and returns why. When the system is out of descriptors or memory for
// another connection, it tries again.
func (l *Listener) Serve(ctx context.Context, handle func(ctx context.Context, conn *Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	var open connSet
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel() // before the wait
	running.Go(func() {
		<-ctx.Done()
		l.Close()
		open.close(&running) // handlers that do not use ctx are to end as well
	})

	return netx.AcceptLoop(ctx, l.net, func(socket net.Conn) {
		conn := newServerConn(socket, l.settings)
		open.add(conn)
		running.Go(func() {
			defer open.remove(conn)
			handle(ctx, conn)
		})
	}, nil)
}

// connSet is a set of connections that can be closed together.
type connSet struct {
	mu     sync.Mutex
	conns  map[*Conn]struct{}
	closed bool
}

func (s *connSet) add(conn *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return
	}
	if s.conns == nil {
		s.conns = make(map[*Conn]struct{})
	}
	s.conns[conn] = struct{}{}
}

// remove closes conn and takes it out of the set.
func (s *connSet) remove(conn *Conn) {
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
	conn.Close()
}

// close closes all connections of the set, and those added later. They are closed
// concurrently, since a WebSocket waits for its peer's close frame.
func (s *connSet) close(running *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.conns {
		running.Go(func() { conn.Close() })
	}
}
