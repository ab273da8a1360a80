package mtwire

import (
	"context"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/wsconn"
)

// ListenConfig is what a server can choose. Nil is good, and so is the zero
// value of every field: a server that takes every transport from everybody.
// It must not change while it is in use, and may serve several listeners.
type ListenConfig struct {
	// Secrets are those of an MTProxy. With any here, a client must know one:
	// everything else is unknown, even a plain framing or an HTTP request,
	// and gets silence. FakeTLS needs a secret; any mode's key will do.
	Secrets []Secret

	// FindSecret looks for the secret that a client knows, in place of a
	// search through all Secrets: a server with thousands of them can try
	// those first that a client is likely to have, and limit what strangers
	// cost. It calls try as often as it likes, which returns the place in that
	// set of the first secret that fits, or -1; and it returns the place in
	// Secrets, or -1. ctx is that of the handshake. Nil means that all are
	// tried, in order.
	FindSecret func(ctx context.Context, q SecretQuery, try func(*SecretSet) int) int

	// FakeTLSOnly takes nothing but FakeTLS. Then a client is unknown with the
	// first byte that no FakeTLS hello has in its place, while otherwise there
	// may be an init payload to wait for: a web server in place of Unknown would
	// not wait for more of what cannot be TLS.
	FakeTLSOnly bool

	// AllowNoSecret serves clients that bring no secret beside those that do.
	AllowNoSecret bool

	// ObfuscatedFull takes an init payload without a tag for Full, if what
	// follows it can be Full's first frame. The specification has no tag for
	// it, and few clients do this.
	ObfuscatedFull bool

	// MaxLength limits incoming packets, in bytes, over HTTP outgoing ones as
	// well. 0 means 16 MiB.
	MaxLength int

	// HandshakeTimeout bounds the time from a client's first byte until it is
	// known what the client speaks. 0 means between 10 and 15 seconds, drawn
	// for each connection, so that the limit is no fingerprint. There is no
	// limit on how long a client may be silent before its first byte, other
	// than the context: official clients open connections to keep them warm.
	HandshakeTimeout time.Duration

	// Unknown is given every connection of which nothing could be made, with
	// all its bytes still to be read: to pipe it to another server, for
	// instance. The connection is its own until it returns, and closed then.
	// Handshake, whose context ctx is, returns an error afterwards.
	//
	// Nil means that the server goes on reading for the rest of
	// HandshakeTimeout, answers nothing, and leaves it to be closed.
	Unknown func(ctx context.Context, conn net.Conn, why error)

	// Permit may turn down a client that knows a secret, or that needs none,
	// for what it speaks, as an MTProxy does that takes FakeTLS only. It is
	// asked once, with a Transport that is complete, and before anything else
	// than a FakeTLS or WebSocket handshake was answered. An error makes the
	// client unknown. Framings without obfuscation are not asked about. Nil
	// means that all are welcome.
	Permit func(t Transport) error

	// Replay remembers id, which stands for one FakeTLS hello or one init
	// payload, and says whether it knew it. It is asked after a secret has
	// matched, so strangers cannot fill its memory. Nil means no.
	Replay func(id [16]byte) (seen bool)

	// ClockWindow is how far the clock in a FakeTLS hello may be off. 0 means
	// 120 seconds, a negative value any time.
	ClockWindow time.Duration

	// Flight returns what the answer to a FakeTLS hello for a host is to look
	// like. Nil means the zero value.
	Flight func(serverName string) faketls.ServerHelloShape

	// TLS serves wss and https, and needs a certificate. HTTP/2 is not agreed
	// on, be it in NextProtos. Nil means no TLS.
	TLS *tls.Config

	// HTTP and WebSocket configure these carriers; nil is fine. MaxLength
	// goes before HTTP.MaxLength.
	HTTP      *httpconn.ServerConfig
	WebSocket *wsconn.ServerConfig

	// Time is the clock for FakeTLS, nil time.Now. Rand is the source of
	// padding and of FakeTLS's random parts, nil the system's.
	Time func() time.Time
	Rand io.Reader
}

// serverSettings is a ListenConfig made ready.
type serverSettings struct {
	ListenConfig
	keys [][16]byte // of Secrets
}

func newServerSettings(config *ListenConfig) *serverSettings {
	s := &serverSettings{}
	if config != nil {
		s.ListenConfig = *config
	}
	if s.TLS != nil && slices.Contains(s.TLS.NextProtos, "h2") {
		// Who offers it would be answered in HTTP/1.1.
		s.TLS = s.TLS.Clone()
		s.TLS.NextProtos = slices.DeleteFunc(slices.Clone(s.TLS.NextProtos), func(p string) bool { return p == "h2" })
	}
	for _, secret := range s.Secrets {
		s.keys = append(s.keys, secret.Key)
	}
	return s
}

// secretFor returns the first secret with the same key as the given one whose
// domain matches name, or -1. One key may be handed out for several domains. An
// empty name matches: several versions of Telegram for iOS send none.
func (s *serverSettings) secretFor(key int, name string) int {
	if own := s.Secrets[key].Domain; own == "" || own == name {
		return key // there may be thousands of others
	}
	return slices.IndexFunc(s.Secrets, func(secret Secret) bool {
		fits := secret.Domain == "" || name == "" || secret.Domain == name
		return fits && secret.Key == s.Secrets[key].Key
	})
}

// open says whether clients without a secret are served.
func (s *serverSettings) open() bool { return len(s.Secrets) == 0 || s.AllowNoSecret }

func (s *serverSettings) handshakeTimeout() time.Duration {
	if s.HandshakeTimeout > 0 {
		return s.HandshakeTimeout
	}
	return 10*time.Second + rand.N(5*time.Second)
}

// Listener takes connections of every transport on one port.
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

// NewListener serves on a listener that is open already.
func NewListener(ln net.Listener, config *ListenConfig) *Listener {
	return &Listener{net: ln, settings: newServerSettings(config)}
}

// Accept returns the next connection, at once: it reads nothing from it. What
// the client speaks is found out by the Conn's Handshake, which its first
// Receive calls, so that a silent client keeps nobody waiting.
func (l *Listener) Accept() (*Conn, error) {
	conn, err := l.net.Accept()
	if err != nil {
		return nil, err
	}
	return newServerConn(conn, l.settings), nil
}

// Server serves one connection that was accepted elsewhere, on the listener's
// terms. Nothing is read from it before Handshake.
func (l *Listener) Server(conn net.Conn) *Conn { return newServerConn(conn, l.settings) }

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
	return &Conn{net: conn, side: frame.Server, accept: &acceptor{settings: settings}}
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

// connSet is the connections that are being served.
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

// remove closes conn and forgets it.
func (s *connSet) remove(conn *Conn) {
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
	conn.Close()
}

// close closes all there are, and those to come. A WebSocket takes a moment to
// say goodbye, so they do it side by side.
func (s *connSet) close(running *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.conns {
		running.Go(func() { conn.Close() })
	}
}
