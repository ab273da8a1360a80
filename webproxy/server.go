package webproxy

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/readbuf"
	"github.com/mtwire/mtwire/internal/readiness"
	"github.com/mtwire/mtwire/internal/workers"
	"github.com/mtwire/mtwire/mtproxy"
)

// Times of the protocol. Apps know them.
const (
	bootstrapLife  = 2 * time.Minute  // of a page's token
	reconnectGrace = 2 * time.Minute  // of a session without a request
	pollTime       = 25 * time.Second // of a long poll without data
	ioTime         = 30 * time.Second // for a part of a body, and of a message
)

// User is a user of a relay.
type User struct {
	Name string
	// Secret is the user's. A plain one also lets in clients with dd in front of the
	// key; a padded one lets in only these. FakeTLS secrets are refused.
	Secret mtproxy.Secret
	// Carrier is the carrier of the user's sessions. Default: HTTPS.
	Carrier Carrier
}

// Limits limits what a Server's clients take. Fields that are 0 have their default. Of
// each limit but SessionStreams and Backlog, one user gets three quarters at most, and
// less while others take much.
type Limits struct {
	Sessions          int   // sessions at a time; default: 16,384
	Streams           int   // streams at a time; default: 65,536
	SessionStreams    int   // streams of a session at a time, and an eighth of its requests; default: 128
	Bootstraps        int   // pages of the last two minutes; default: 32,768
	PagesPerMinute    int   // pages; default: 12,000, and a fifth of them at once
	SessionsPerMinute int   // new sessions; default: 6,000, and a fifth of them at once
	StreamsPerMinute  int   // new streams; default: 60,000, and a fifth of them at once
	Memory            int64 // bytes of all streams that wait to be moved; default: 512 MiB
	Backlog           int   // streams that wait for Accept; default: 512
}

// ServerConfig configures a Server. Host and Users are required.
type ServerConfig struct {
	// Host is the host name of the links, as CheckHost accepts it. Requests for
	// other hosts, and ports other than 443, go to Site.
	Host string
	// Path is the base path of the links. Default: none.
	Path string
	// Users are the users at the start; see SetUsers.
	Users []User

	// Site serves every request that is not a client's: all of them without a
	// capability or a token, unchanged. Default: http.NotFound.
	Site http.Handler

	// TokenKey is the key of the tokens. With the same key after a restart, tokens
	// from before are known, and kept from Site. Default: random.
	TokenKey [32]byte

	// ClientAddr returns the address of a request's client, which is the
	// RemoteAddr of its streams. It is for servers behind a reverse proxy.
	// Default: that of the connection.
	ClientAddr func(*http.Request) netip.Addr

	// Authenticated, if it is not nil, is called with each request of a session, before
	// it is answered: its connection is a client's. It must not block.
	Authenticated func(*http.Request)

	Limits Limits

	// Logger gets the ends of sessions that have a cause, and warnings. It gets no
	// capability and no token. Default: none.
	Logger *slog.Logger
}

// Server is a relay: an http.Handler before a site's own. Its streams come out of
// Accept: it is a net.Listener, too.
//
// A client is a request with a user's capability, or with a token that the server
// has made. Every other request goes to the site as it came, whatever its path,
// method and body are. A request with a capability or a token that is not a valid
// one of the protocol goes there, too, with other characters in place of these.
//
// The page that the server answers a capability with is for the web views of
// Telegram's apps, and for a browser that Telegram Desktop opens. Clients without a
// browser look for its token.
//
// On Linux an idle WebSocket has no goroutine, if its connection is a TCP socket or leads to
// one by methods NetConn, as that of crypto/tls has. Such a connection must return what it has
// read already also after its read deadline, and go on after that deadline's error. The first
// one starts a goroutine, which Close ends.
//
// All methods may be called concurrently.
type Server struct {
	host, base string
	path       string
	site       http.Handler
	clientAddr func(*http.Request) netip.Addr
	known      func(*http.Request)
	limits     Limits
	log        *slog.Logger
	key        tokenKey
	up, down   budget

	pages, starts, opens *rate

	mu         sync.Mutex // inside a session's
	users      map[[sha256.Size]byte]*serverUser
	bootstraps map[token]*bootstrap
	queue      []*bootstrap // by age
	sessions   map[token]*session
	accounts   map[string]*account // by user
	deleted    map[token]struct{}
	streams    int
	backlog    []*Conn
	accepting  chan struct{} // has an element if backlog may not be empty
	closed     chan struct{}
	draining   atomic.Bool       // by Shutdown
	readers    *workers.Pool     // of WebSockets that were woken
	poller     *readiness.Poller // of those that are idle; nil before the first
	lanesOnce  sync.Once
}

// serverUser is a user with one of the secrets that its key has.
type serverUser struct {
	User // with that secret
	cap  Capability
}

// bootstrap is a page's token.
type bootstrap struct {
	token   token
	user    *serverUser
	expires time.Time
	session *session // that it has made
}

// NewServer returns a Server. It starts no goroutine. The error is about a field of config:
// the host, the path or a limit.
func NewServer(config ServerConfig) (*Server, error) {
	if err := CheckHost(config.Host); err != nil {
		return nil, err
	}
	if err := CheckPath(config.Path); err != nil {
		return nil, err
	}
	l := &config.Limits
	for _, limit := range []struct {
		field    *int
		standard int
	}{
		{&l.Sessions, 16384}, {&l.Streams, 65536}, {&l.SessionStreams, 128}, {&l.Bootstraps, 32768}, {&l.Backlog, 512},
		{&l.PagesPerMinute, 12000}, {&l.SessionsPerMinute, 6000}, {&l.StreamsPerMinute, 60000},
	} {
		if *limit.field == 0 {
			*limit.field = limit.standard
		}
		if *limit.field < 0 {
			return nil, errors.New("webproxy: a limit is negative")
		}
	}
	if l.Memory == 0 {
		l.Memory = 512 << 20
	}
	s := &Server{
		host: config.Host, path: config.Path, base: basePath(config.Path),
		site: config.Site, clientAddr: config.ClientAddr, known: config.Authenticated, limits: *l, log: config.Logger, key: config.TokenKey,
		up: budget{max: l.Memory / 4 * 3}, down: budget{max: l.Memory / 4}, accounts: make(map[string]*account),
		pages: newRate(l.PagesPerMinute), starts: newRate(l.SessionsPerMinute), opens: newRate(l.StreamsPerMinute),
		bootstraps: make(map[token]*bootstrap), sessions: make(map[token]*session), deleted: make(map[token]struct{}),
		accepting: make(chan struct{}, 1), closed: make(chan struct{}), readers: workers.New(),
	}
	if s.known == nil {
		s.known = func(*http.Request) {}
	}
	if s.site == nil {
		s.site = http.NotFoundHandler()
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.key == (tokenKey{}) {
		rand.Read(s.key[:])
	}
	if err := s.SetUsers(config.Users); err != nil {
		return nil, err
	}
	return s, nil
}

// SetUsers replaces the users. It ends the sessions of users that are gone, and of
// those whose secret has changed; a new carrier is for new sessions. After an error
// nothing has changed.
func (s *Server) SetUsers(users []User) error {
	all := make(map[[sha256.Size]byte]*serverUser, 2*len(users))
	for _, u := range users {
		if err := (Link{Host: s.host, Path: s.path, Secret: u.Secret}).Check(); err != nil {
			return fmt.Errorf("user %q: %w", u.Name, err)
		}
		if int(u.Carrier) >= len(carrierNames) {
			return fmt.Errorf("user %q: unknown %v", u.Name, u.Carrier)
		}
		padded := u.Secret
		padded.Mode = mtproxy.Padded
		for _, secret := range []mtproxy.Secret{u.Secret, padded} {
			with := u
			with.Secret = secret
			c := DeriveCapability(secret, s.host, s.path)
			key := sha256.Sum256(c[:])
			if other := all[key]; other != nil && other.Name != u.Name {
				return fmt.Errorf("users %q and %q have the same secret", other.Name, u.Name)
			}
			all[key] = &serverUser{with, c}
		}
	}
	s.mu.Lock()
	s.users = all
	var gone []*session
	for _, session := range s.sessions {
		if !s.current(session.user) {
			gone = append(gone, session)
		}
	}
	s.mu.Unlock()
	for _, session := range gone {
		session.end(errors.New("the user is gone"))
	}
	return nil
}

// current reports whether a user of a session is still one. The caller holds s.mu.
func (s *Server) current(u *serverUser) bool {
	now := s.users[sha256.Sum256(u.cap[:])]
	return now != nil && now.Name == u.Name
}

// user returns the user with a capability, or nil. A map of hashes is searched: its
// time depends on the hash, and tells nothing about capabilities.
func (s *Server) user(text string) *serverUser {
	c, ok := ParseCapability(text)
	key := sha256.Sum256(c[:])
	s.mu.Lock()
	u := s.users[key]
	s.mu.Unlock()
	if !ok || u == nil || !u.cap.Equal(c) {
		return nil
	}
	return u
}

// Accept returns the next stream that a client has opened, as a *Conn. It returns
// net.ErrClosed after Close.
func (s *Server) Accept() (net.Conn, error) {
	for {
		s.mu.Lock()
		if s.isClosed() {
			s.mu.Unlock()
			return nil, net.ErrClosed
		}
		if len(s.backlog) > 0 {
			c := s.backlog[0]
			s.backlog[0] = nil
			s.backlog = s.backlog[1:]
			if len(s.backlog) > 0 {
				notify(s.accepting)
			}
			s.mu.Unlock()
			return c, nil
		}
		s.mu.Unlock()
		select {
		case <-s.accepting:
		case <-s.closed:
		}
	}
}

// Addr returns the relay's host name as an address.
func (s *Server) Addr() net.Addr { return hostAddr(s.host) }

// hostAddr is a relay's address: its host name.
type hostAddr string

func (hostAddr) Network() string  { return "web" }
func (a hostAddr) String() string { return string(a) + ":443" }

// Close ends all sessions, and Accept. Requests go to the site afterwards. It does
// not close the connections of streams that Accept has returned; their reads fail
// when the bytes that have arrived are read.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.isClosed() {
		s.mu.Unlock()
		return net.ErrClosed
	}
	close(s.closed)
	sessions, backlog, poller := s.sessions, s.backlog, s.poller
	s.sessions, s.bootstraps, s.queue, s.backlog = map[token]*session{}, map[token]*bootstrap{}, nil, nil
	s.mu.Unlock()
	for _, session := range sessions {
		session.end(errors.New("the server is closed"))
	}
	for _, c := range backlog {
		c.Close()
	}
	if poller != nil {
		poller.Close()
	}
	return nil
}

// watch has ready called when something has come to be read from the socket of conn, which is
// conn or below it. It returns nil if there is no socket, or none can be watched.
func (s *Server) watch(conn net.Conn, ready func()) *readiness.Watch {
	for {
		layer, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = layer.NetConn()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poller == nil && !s.isClosed() && readbuf.RawConn(conn) != nil {
		s.poller, _ = readiness.New()
	}
	if s.poller == nil {
		return nil
	}
	return s.poller.Watch(conn, ready)
}

func (s *Server) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Stats is what a Server has at one time.
type Stats struct {
	Sessions, Streams int
	// Up and Down are the bytes of streams that wait to be read by the caller, and
	// to be taken by clients.
	Up, Down int64
}

// Stats returns the numbers of now.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Sessions: len(s.sessions), Streams: s.streams, Up: s.up.used.Load(), Down: s.down.used.Load()}
}

// open takes a stream that a client has opened to Accept, and reports false if a
// limit is reached. The caller holds the mutex of c's session.
func (s *Server) open(c *Conn) bool {
	if c.mux.live > s.limits.SessionStreams {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return false
	}
	a := c.account
	if !mayHave(a.streams, s.streams, s.limits.Streams) || len(s.backlog) >= s.limits.Backlog || !a.opens.allow() || !s.opens.allow() {
		return false
	}
	s.streams++
	a.streams++
	c.closer = func() {
		s.mu.Lock()
		s.streams--
		a.streams--
		s.release(c.user.Name, a)
		s.mu.Unlock()
	}
	s.backlog = append(s.backlog, c)
	notify(s.accepting)
	return true
}

// rate limits events to n a minute, and a fifth of them at once. The zero time is full.
type rate struct {
	mu       sync.Mutex
	interval time.Duration // of one event
	burst    time.Duration
	full     time.Time // when no event will be counted any more
}

func newRate(perMinute int) *rate {
	interval := time.Minute / time.Duration(perMinute)
	return &rate{interval: interval, burst: max(time.Minute/5, interval)}
}

// allow counts an event, and reports false if there are too many.
func (r *rate) allow() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.full.Before(now) {
		r.full = now
	}
	if r.full.Add(r.interval).Sub(now) > r.burst {
		return false
	}
	r.full = r.full.Add(r.interval)
	return true
}
