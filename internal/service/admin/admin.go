// Package admin is the listener for operators: metrics, health, and an HTTP API.
//
//	admin.go    the server, and its limits
//	guard.go    which requests are answered: host, origin, token
//	connections.go  how many connections there may be, and how long without a token
//	problem.go  errors, as RFC 9457 has them
//	health.go   /healthz and /readyz; readiness.go: what makes a proxy ready
//	api.go      /v1: routes, answers, and entity tags; openapi.yaml describes them
//	resources.go  version, status, log level, data centres, upstreams; reload.go: reloads
//	upgrade.go    another process in the place of this one
//	runtimelists.go  networks that are allowed, or blocked, at run time
//	sessions.go   sessions; users.go, userdocument.go: users
//	userdetails.go  days of a user's usage, and its links
//	client.go     requests to the API of a proxy; remote.go: over TCP
package admin

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// Limits of a client of the listener. It may be any program of the machine, or of the
// network if the listener is on TCP.
const (
	maxHeader     = 16 << 10
	maxBody       = 64 << 10
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = time.Minute
	idleTimeout   = 2 * time.Minute
)

// Config configures a Server.
type Config struct {
	// Token returns what requests over TCP must have, at the time of each. "" refuses
	// all of them.
	Token func() string
	// Metrics answers /metrics.
	Metrics http.Handler
	// Ready returns why the proxy does not serve clients, nil if it does. It does not
	// block.
	Ready func() error
	// Log gets warnings, and LogLevel is its level.
	Log      *slog.Logger
	LogLevel *slog.LevelVar
	// Version is the program's.
	Version string

	// Proxy is what the API shows and changes.
	Proxy *proxy.Proxy
	// Reload reads the configuration again, if permitted returns nil: no other reload puts
	// one in force between the two. Otherwise it returns permitted's error. It reports false
	// if there is nothing to read. The error may wrap ErrUnavailable.
	Reload func(permitted func() error) (reloaded bool, err error)
	// Configuration returns which configuration is in force.
	Configuration func() Configuration
	// Upgrade has another process take this one's place: see Upgrade. program is an absolute
	// path, "" for the program of this process. Nil means that that cannot be. The error wraps
	// ErrNoUpgrade or ErrProgram, or is that of the new process.
	Upgrade func(program string) (Upgrade, error)
	// Rate returns the limit of unauthenticated connections in a second, 0 for none. Nil is
	// one that returns 0.
	Rate func() float64
	// Store returns the state of the store, nil if there is none. It may be nil.
	Store func() *Store
	// Lists returns what the lists of networks have counted.
	Lists func() Lists
	// Networks returns the networks that are allowed, or blocked, at run time, and
	// UpdateNetworks replaces them by what change returns for them, which it returns, or
	// returns its error and changes nothing. Nil means that none can be.
	Networks       func(ListName) RunTimeList
	UpdateNetworks func(name ListName, change func([]netip.Prefix) ([]netip.Prefix, error)) (RunTimeList, error)
	// Users are the users with their limits. Nil means those of the proxy, without.
	Users Users
	// UpdateUsers changes the users that were added at run time. Nil means that none can
	// be.
	UpdateUsers UpdateUsers
	// Where tells where a user is that was not added at run time, and what to do there, ""
	// if it is in the configuration. UpdateUsers's change may call it. Nil is one that
	// returns "".
	Where func(name string) string
	// History returns the bytes of a user on each of the last days, the oldest first. Nil
	// means that nothing is kept.
	History func(name string) ([]Day, error)
	// Links returns the links of a user that there is, and notes: a sentence for each
	// reason why clients may not be able to connect to their address. Nil means that there
	// are none.
	Links func(ctx context.Context, name string) (links []Link, notes []string, err error)
	// NewSecret returns a fresh secret for a user. It is not called by what UpdateUsers
	// calls.
	NewSecret func() (mtproxy.Secret, error)
}

// Server serves the listeners. Its methods may be called concurrently.
type Server struct {
	config  Config
	mux     *http.ServeMux
	started time.Time

	scrapes atomic.Int64 // that are being answered

	mu      sync.Mutex
	servers []*http.Server
	closed  bool
}

// New returns a server that does not listen.
func New(config Config) *Server {
	if config.Users == nil {
		config.Users = proxyUsers{config.Proxy}
	}
	s := &Server{config: config, mux: http.NewServeMux(), started: time.Now()}
	s.mux.HandleFunc("GET /metrics", s.scrape)
	s.mux.HandleFunc("GET /healthz", s.health)
	s.mux.HandleFunc("GET /readyz", s.ready)
	s.addRoutes()
	return s
}

// Serve serves ln until Close, or until ln is closed, and returns nil then. Requests over a Unix socket need
// no token: its permissions are the limit.
func (s *Server) Serve(ln net.Listener) error {
	guarded := guard{token: s.config.Token, tcp: ln.Addr().Network() != "unix", next: http.HandlerFunc(s.route)}
	server := &http.Server{
		Handler:           http.MaxBytesHandler(&guarded, maxBody),
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		ConnContext:       withConnection,
		ConnState:         noteState,
		ErrorLog:          log.New(logWriter{s.config.Log}, "", 0),
	}
	limited := &connections{Listener: ln}
	if guarded.tcp {
		limited.timeout = tokenTimeout
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		ln.Close()
		return nil
	}
	s.servers = append(s.servers, server)
	s.mu.Unlock()
	err := server.Serve(limited)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// scrape serves /metrics.
func (s *Server) scrape(w http.ResponseWriter, r *http.Request) {
	s.scrapes.Add(1)
	defer s.scrapes.Add(-1)
	s.config.Metrics.ServeHTTP(w, r)
}

// Leave has clients connect anew for their next request: another process has the listeners.
// Requests that are being answered go on. It waits a second for those of /metrics: what these
// show is to be counted in the other process before that answers one.
func (s *Server) Leave() {
	s.mu.Lock()
	for _, server := range s.servers {
		server.SetKeepAlivesEnabled(false)
	}
	s.mu.Unlock()
	for end := time.Now().Add(time.Second); s.scrapes.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// Close closes the listeners, and waits a second for requests that are being answered.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	servers := s.servers
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, server := range servers {
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	}
}

// logWriter writes the lines of package http to a log, as debug messages: they are
// about clients that do not speak HTTP.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(line []byte) (int, error) {
	w.log.Debug("admin listener", "cause", strings.TrimSpace(string(line)))
	return len(line), nil
}
