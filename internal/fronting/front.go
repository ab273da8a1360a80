// Package fronting is what strangers of an MTProxy see. Whoever is not
// authenticated is piped to a fronting host, the site that the secret's domain
// names, and gets that host's own bytes at that host's own time. Nothing here
// says a word of its own.
//
// It measures the hosts as well: the proxy's answer to those who are
// authenticated ought to look like the host's, and to have its size.
package fronting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/mtwire/mtwire/faketls"
)

const (
	// DefaultDialTimeout bounds one attempt to reach a host.
	DefaultDialTimeout = 5 * time.Second
	// DefaultMaxConns is how many strangers are piped at one time.
	DefaultMaxConns = 4096
	// DefaultMaxSilent is how many silent clients have a connection.
	DefaultMaxSilent = 1024
	// DefaultIdle is longer than most servers keep an idle connection: nginx
	// waits 75 seconds, Caddy 5 minutes, Google's load balancers 610 seconds.
	DefaultIdle = 15 * time.Minute
)

// ErrBusy means that as many connections are open as there may be.
var ErrBusy = errors.New("as many strangers are connected to fronting hosts as are allowed")

var errNoHost = errors.New("there is no fronting host")

// Host is a fronting host: the site that a FakeTLS secret's domain names.
type Host struct {
	// Domain is the name in the secret. Upper and lower case are the same.
	Domain string

	// Address is where the site really is, host:port. Empty means the domain
	// itself, port 443.
	Address string
}

// Config is what an operator chooses. The zero value of every field but Hosts
// is good.
type Config struct {
	// Hosts are the fronting hosts. The first is for strangers that name none
	// of the domains. Without any, strangers get silence.
	Hosts []Host

	// DialContext opens connections to hosts. Nil means a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// DialTimeout bounds each attempt. 0 means DefaultDialTimeout.
	DialTimeout time.Duration

	// MaxConns limits the strangers that are piped at one time; those beyond
	// it get silence. 0 means DefaultMaxConns.
	MaxConns int

	// MaxSilent limits the connections that Open made and that are not piped
	// yet. 0 means DefaultMaxSilent.
	MaxSilent int

	// Idle ends a pair of connections in which nothing has moved for so long.
	// It should be longer than any host waits. 0 means DefaultIdle.
	Idle time.Duration

	// Log is told of hosts that cannot be reached, or that are not as they
	// should be, and of what was measured. Nil means slog.Default.
	Log *slog.Logger
}

// Front connects strangers to hosts. Its methods may be called concurrently.
type Front struct {
	config Config
	hosts  []*host
	piped  slots
	silent slots
}

// New returns a Front. It fails if two hosts have one domain, or an address
// has no port.
func New(config Config) (*Front, error) {
	if config.DialContext == nil {
		config.DialContext = (&net.Dialer{}).DialContext
	}
	if config.DialTimeout <= 0 {
		config.DialTimeout = DefaultDialTimeout
	}
	if config.MaxConns <= 0 {
		config.MaxConns = DefaultMaxConns
	}
	if config.MaxSilent <= 0 {
		config.MaxSilent = DefaultMaxSilent
	}
	if config.Idle <= 0 {
		config.Idle = DefaultIdle
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	f := &Front{config: config, piped: make(slots, config.MaxConns), silent: make(slots, config.MaxSilent)}
	for _, h := range config.Hosts {
		if err := f.add(h); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *Front) add(h Host) error {
	h.Domain = strings.ToLower(h.Domain)
	if h.Domain == "" {
		return errors.New("front: a host without a domain")
	}
	if f.find(h.Domain) != nil {
		return fmt.Errorf("front: %s is named twice", h.Domain)
	}
	if h.Address == "" {
		h.Address = net.JoinHostPort(h.Domain, "443")
	}
	if _, _, err := net.SplitHostPort(h.Address); err != nil {
		return fmt.Errorf("front: where %s is has to be host:port: %w", h.Domain, err)
	}
	f.hosts = append(f.hosts, &host{Host: h})
	return nil
}

// find returns the host with that domain, nil if there is none.
func (f *Front) find(domain string) *host {
	for _, h := range f.hosts {
		if strings.EqualFold(h.Domain, domain) {
			return h
		}
	}
	return nil
}

// choose returns the host for a name that a stranger sent: if it is nobody's,
// the first; nil if there are none at all.
func (f *Front) choose(serverName string) *host {
	if h := f.find(serverName); h != nil || len(f.hosts) == 0 {
		return h
	}
	return f.hosts[0]
}

// Flight returns what the answer to a hello for domain has to look like to be
// taken for the host's own, which is as long and has the same suite, key share
// and order: one of those that were measured last, drawn at random. It is zero
// if nothing is known, because nothing was measured yet or because the host does
// not speak TLS 1.3. For a domain that is nobody's it is the first host's.
func (f *Front) Flight(domain string) faketls.ServerHelloShape {
	h := f.choose(domain)
	if h == nil {
		return faketls.ServerHelloShape{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.looks) == 0 {
		return faketls.ServerHelloShape{}
	}
	return h.looks[rand.IntN(len(h.looks))]
}

// host is a Host and what is known about it.
type host struct {
	Host

	mu     sync.Mutex
	looks  []faketls.ServerHelloShape // of the last round of measuring that succeeded
	warned time.Time                  // when its failure was last complained about

	// Whether it is somebody else than this proxy: see loop.go.
	probes  []*probing // those that are not settled
	doubted time.Time  // when a probe last heard nothing, unless one has since
	looping bool       // it is this proxy
	unheard int        // connections on which it has said nothing
	trusted int        // how many these may be, if more than minUnheard
}

// warnEvery is how often a failing host is complained about at most: strangers
// come by the thousand.
const warnEvery = time.Minute

// reach is dial for a stranger, of which the operator hears if it fails.
func (f *Front) reach(ctx context.Context, h *host, local net.Addr) (net.Conn, error) {
	conn, err := f.dial(ctx, h, local)
	if err != nil && ctx.Err() == nil {
		f.complain(h, err)
	}
	return conn, err
}

// dial connects to h. local is the address at which the stranger arrived, nil
// if there is none.
func (f *Front) dial(ctx context.Context, h *host, local net.Addr) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, f.config.DialTimeout)
	defer cancel()
	conn, err := f.config.DialContext(limited, "tcp", h.Address)
	if err == nil && sameEndpoint(conn.RemoteAddr(), local) {
		conn.Close()
		err = errLoop
	}
	if err != nil {
		if ended := ctx.Err(); ended != nil {
			return nil, ended
		}
		return nil, fmt.Errorf("fronting host %s: %w", h.Domain, err)
	}
	return conn, nil
}

// complain tells the operator that strangers cannot be piped to h.
func (f *Front) complain(h *host, err error) {
	h.mu.Lock()
	level := slog.LevelDebug
	if time.Since(h.warned) >= warnEvery {
		level, h.warned = slog.LevelWarn, time.Now()
	}
	h.mu.Unlock()
	f.config.Log.Log(context.Background(), level, "fronting host cannot be reached, strangers get silence",
		"address", h.Address, "error", err)
}

// sameEndpoint says whether two addresses are one TCP socket's.
func sameEndpoint(a, b net.Addr) bool {
	x, ok := a.(*net.TCPAddr)
	y, same := b.(*net.TCPAddr)
	return ok && same && x.Port == y.Port && x.IP.Equal(y.IP)
}

// slots limits how many there are of something.
type slots chan struct{}

func (s slots) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) free() { <-s }
