// Package web serves a host that is a web site for visitors, and a WEB relay for clients
// of an MTProxy:
//
//	web.go          the server: connections in, streams of clients out
//	change.go       another configuration meanwhile
//	local.go        the site as a fronting host of the proxy
//	forwarded.go    the addresses of clients behind a web server in front
//	visits.go       limits of the requests that the site answers at a time
//	bodies.go       limits of bodies that visitors send
//	site.go         what visitors see: files, another server's answers, or a page of our own
//	certificate.go  the certificate, from files that may be renewed
//	acme.go         or from an ACME server
//
// Nothing here logs requests: their URLs and headers have credentials.
package web

import (
	"context"
	"crypto/tls"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
	"github.com/mtwire/mtwire/webproxy"
)

// Times and sizes of HTTP, those of the official relay.
const (
	headerTime = 10 * time.Second
	idleTime   = 75 * time.Second
	maxHeader  = 16 << 10
)

// Config configures a Server.
type Config struct {
	// Host is the host name of the site, as webproxy.CheckHost accepts it. Without one there
	// is no site, and what is below has no effect.
	Host string
	// Path is the base path of the relay, as webproxy.CheckPath accepts it.
	Path string
	// Site is what visitors see: see NewSite.
	Site *Site
	// Certificate returns the certificate for a hello.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Protocols are those of ALPN besides h2 and http/1.1.
	Protocols []string
	// TokenKey is the key of the relay's tokens, the same after a restart.
	TokenKey [32]byte
	// ForwardedFrom are the peers of ServePlain whose X-Forwarded-For counts.
	ForwardedFrom proxyprotocol.Trust
	// MaxLocal limits the connections of ServeLocal. One site (IPv4 /24) may have three quarters
	// of them, and one address half. 0 means a quarter of the descriptors, at most 8192.
	MaxLocal int
	// Authenticated is called with the connection and the address of a client, the first
	// time that the client shows a session of the relay on the connection.
	Authenticated func(netip.Addr)
	// Log gets the ends of sessions that have a cause, and what goes wrong.
	Log *slog.Logger
}

// Conn is a connection from a listener of the proxy, *proxy.WebConn.
type Conn interface {
	net.Conn
	Authenticated() (first bool)
}

// Server serves connections that Serve is called with. Its methods may be called
// concurrently.
type Server struct {
	current  atomic.Pointer[settings]
	http     *http.Server
	plain    *http.Server // of ServePlain
	conns    chan net.Conn
	bodies   *admission.Table // of visitors' requests
	restTime time.Duration
	further  *admission.Table // of visitors' requests that are answered; see visits.go
	freed    chan struct{}    // has an element when there may be room in further
	waiting  *admission.Table // of visitors' requests
	local    *admission.Table // of connections of ServeLocal
	log      *slog.Logger
	ctx      context.Context // until Close
	cancel   context.CancelFunc
	mu       sync.Mutex // held while running grows, while ctx ends, and while current changes
	streams  *streams   // nil before Streams
	running  sync.WaitGroup
}

// New returns a server without users. It starts no goroutine.
func New(config Config) (*Server, error) {
	s := &Server{
		conns: make(chan net.Conn), bodies: admission.New(shares(maxBodies), bodyGrace), restTime: restTime,
		further: admission.New(shares(maxFurther()), visitGrace), freed: make(chan struct{}, 1),
		waiting: admission.New(shares(maxWaiting), visitGrace),
		local:   admission.New(config.localLimits(), localGrace), log: config.Log,
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	first, err := s.newSettings(config, nil)
	if err != nil {
		return nil, err
	}
	s.current.Store(first)
	s.http, s.plain = s.newHTTP((*siteHandler)(s)), s.newHTTP(http.HandlerFunc(s.servePlain))
	s.http.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		ctx = context.WithValue(ctx, connKey{}, conn)
		return context.WithValue(ctx, visitsKey{}, newVisits())
	}
	s.plain.Protocols = new(http.Protocols)
	s.plain.Protocols.SetHTTP1(true)
	s.plain.Protocols.SetUnencryptedHTTP2(true)
	return s, nil
}

// siteHandler serves requests with the settings of now.
type siteHandler Server

func (s *siteHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if relay := s.current.Load().relay; relay != nil {
		relay.ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}

func (s *Server) newHTTP(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		// Otherwise package http answers OPTIONS *, with 200, in place of the site.
		DisableGeneralOptionsHandler: true,
		// A connection keeps memory for the longest frame that it has received, and for
		// headers of answers that may be repeated. Those of requests have the table of other
		// servers: its size is in the SETTINGS.
		HTTP2:    &http.HTTP2Config{MaxReadFrameSize: 16 << 10, MaxEncoderHeaderTableSize: 1},
		ErrorLog: log.New(panics{s.log}, "", 0),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
	}
}

// serveSite serves a visitor.
func (s *Server) serveSite(w http.ResponseWriter, r *http.Request) {
	site := s.current.Load().Site
	switch {
	case site == nil: // a change that has come meanwhile ends the site
		http.NotFound(w, r)
	case r.ContentLength != 0: // a body takes memory while its request waits
		s.serveBody(site, w, r)
	default:
		s.visit(site, w, r)
	}
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// authenticated notes that the connection of a request is a client's.
func (s *Server) authenticated(r *http.Request) {
	outer, _ := r.Context().Value(connKey{}).(net.Conn)
	if over, ok := outer.(*tls.Conn); ok {
		outer = over.NetConn()
	}
	conn, ok := outer.(Conn)
	notify := s.current.Load().Authenticated
	if !ok || !conn.Authenticated() || notify == nil {
		return
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		notify(peer.Addr())
	}
}

// panics is the ErrorLog of package http. Of its lines, which have addresses of clients,
// only those of panics are errors of this program.
type panics struct{ log *slog.Logger }

func (p panics) Write(line []byte) (int, error) {
	text := string(line)
	if strings.HasPrefix(text, "http: panic") || strings.HasPrefix(text, "http2: panic") {
		_, stack, _ := strings.Cut(text, "\n")
		p.log.Error("internal error in the web site", "stack", stack)
	}
	return len(line), nil
}

// SetUsers replaces the users of the relay. After an error nothing has changed.
func (s *Server) SetUsers(users []webproxy.User) error {
	if relay := s.current.Load().relay; relay != nil {
		return relay.SetUsers(users)
	}
	return nil
}

// Stats returns what the relay has now.
func (s *Server) Stats() webproxy.Stats {
	if relay := s.current.Load().relay; relay != nil {
		return relay.Stats()
	}
	return webproxy.Stats{}
}

// Start begins to serve connections. It is called once at most, before Serve. After Close it
// does nothing.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() == nil {
		s.running.Go(func() { s.http.Serve(&accepted{s}) })
	}
}

// ServePlain serves HTTP/1.1 and HTTP/2 without TLS on a listener, for web servers in
// front, until Close or until the listener is closed or fails, and returns the cause.
func (s *Server) ServePlain(ln net.Listener) error { return s.plain.Serve(ln) }

// Serve serves a connection whose client sends a TLS hello next. It owns conn, and does
// not wait for the client.
func (s *Server) Serve(conn net.Conn) {
	// The handshake has a goroutine of its own: that of package http, which lives as long
	// as the connection, would keep the stack that a handshake takes.
	s.start(func() { s.handshake(conn) }, conn)
}

// start calls f, which owns conn, in a goroutine that Close waits for. After Close it
// closes conn instead.
func (s *Server) start(f func(), conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		conn.Close()
		return
	}
	s.running.Go(f)
}

// handshake passes a connection on to package http when its handshake is over.
func (s *Server) handshake(conn net.Conn) {
	config := s.current.Load().tls
	if config == nil {
		conn.Close()
		return
	}
	over := tls.Server(conn, config)
	ctx, cancel := context.WithTimeout(s.ctx, headerTime)
	err := over.HandshakeContext(ctx)
	cancel()
	if err == nil {
		netx.ShrinkTLS(over, 0) // of the handshake
		select {
		case s.conns <- over:
			return
		case <-s.ctx.Done():
		}
	}
	conn.Close()
}

// Shutdown ends the sessions of the relay as soon as they move nothing, and makes no new ones.
// It returns when none is left, or when ctx ends. Connections go on.
func (s *Server) Shutdown(ctx context.Context) {
	if relay := s.current.Load().relay; relay != nil {
		relay.Shutdown(ctx)
	}
}

// Close ends all sessions of the relay, and all connections.
func (s *Server) Close() {
	s.mu.Lock()
	s.cancel()
	current, streams := s.current.Load(), s.streams
	s.mu.Unlock()
	if current.relay != nil {
		current.relay.Close()
	}
	if streams != nil {
		streams.Close()
	}
	s.http.Close()
	s.plain.Close()
	s.running.Wait()
}

// accepted is the listener of package http: its connections are those of Serve.
type accepted struct{ *Server }

func (a *accepted) Accept() (net.Conn, error) {
	select {
	case conn := <-a.conns:
		return conn, nil
	case <-a.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (a *accepted) Close() error   { return nil }
func (a *accepted) Addr() net.Addr { return siteAddr{} }

// siteAddr is the address of listeners that are no sockets.
type siteAddr struct{}

func (siteAddr) Network() string { return "web" }
func (siteAddr) String() string  { return "the web site" }

// Streams returns the listener for the streams of clients. Its connections are
// *webproxy.Conn. When it is closed, the sessions of the relay go on, and new streams in
// them are refused. It is called once at most.
func (s *Server) Streams() net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams = &streams{accepted: make(chan net.Conn), closed: make(chan struct{}), late: make(chan struct{}, 1)}
	s.streams.start(s.current.Load().relay)
	return s.streams
}

type streams struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
	late     chan struct{} // has an element when the deadline is over
}

// start brings the streams of a relay, until the relay is closed.
func (l *streams) start(relay *webproxy.Server) {
	if relay != nil {
		go l.run(relay)
	}
}

func (l *streams) run(relay *webproxy.Server) {
	for {
		conn, err := relay.Accept()
		if err != nil {
			return
		}
		select {
		case l.accepted <- conn:
		case <-l.closed:
			conn.Close()
		}
	}
}

func (l *streams) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accepted:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-l.late:
		return nil, os.ErrDeadlineExceeded
	}
}

// SetDeadline has one Accept return os.ErrDeadlineExceeded if the deadline is in the past, and none
// otherwise: a watchdog asks so whether streams are accepted.
func (l *streams) SetDeadline(deadline time.Time) error {
	if !deadline.IsZero() && !time.Now().Before(deadline) {
		select {
		case l.late <- struct{}{}:
		default:
		}
		return nil
	}
	select {
	case <-l.late:
	default:
	}
	return nil
}

func (l *streams) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		close(l.closed)
		err = nil
	})
	return err
}

func (l *streams) Addr() net.Addr { return siteAddr{} }
