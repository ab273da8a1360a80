// Package proxy is an MTProxy server: it takes clients that know a secret,
// classic, dd or ee, and relays their bytes to the data centre they ask for.
// Everybody else is read from and never answered, or handed to a fronting host.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
	"github.com/mtwire/mtwire/internal/route"
	"github.com/mtwire/mtwire/internal/splice"
	"github.com/mtwire/mtwire/mtproxy"
)

// DefaultStallTimeout is how long a data centre may owe an answer.
const DefaultStallTimeout = 15 * time.Second

// User is somebody, or a group, who has a secret.
type User struct {
	// Name is what the log calls them. It may be empty.
	Name string
	// Secret is what their clients know. Its mode is the least that they must
	// use: a dd secret is good for dd and ee, a plain one for all three.
	Secret mtproxy.Secret
}

// Config is what an operator chooses. Users are required; the zero value of
// every other field is good.
type Config struct {
	// Users are those who may use the proxy. A secret is theirs alone.
	Users []User
	// Modes are those that are taken at all. 0 means mtproxy.AllModes.
	Modes mtproxy.Modes
	// ClockWindow is how far a FakeTLS client's clock may be off. 0 means 120
	// seconds, a negative value any time.
	ClockWindow time.Duration

	// TrustedProxies are the addresses and networks of load balancers, which
	// must begin each connection with a PROXY protocol header, of version 1 or
	// 2. "unix" stands for whoever connects to a Unix socket. Nobody else's
	// header is believed.
	TrustedProxies []string

	// Fronts says where fronting hosts are, host:port, by the domain in a
	// FakeTLS secret; "" stands for all that are not named. By default they
	// are at the domain itself, port 443. Whoever is not authenticated is
	// piped there. Without a FakeTLS secret, and without Fronts, strangers get
	// silence.
	Fronts map[string]string

	// DataCenters says where data centres are, by signed number; number 0
	// stands for all that are not named. Values are host:port, several to be
	// tried in turn. What is not here is looked up in the public table.
	DataCenters map[datacenter.DC][]string
	// DefaultDC is for clients that ask for a data centre that nobody knows.
	// 0 means that they are refused.
	DefaultDC datacenter.DC
	// Family is which addresses of the table are used.
	Family datacenter.Family
	// Upstreams are what data centres are reached through: see ParseUpstream. Each
	// takes connections by its weight. None means direct.
	Upstreams []Upstream
	// DisableFastMode gives the upstream side a download key stream of its own
	// instead of the client's, so that every byte of the download is decrypted
	// and encrypted.
	DisableFastMode bool
	// DialTimeout bounds each attempt. 0 means five seconds.
	DialTimeout time.Duration
	// DialContext opens connections to data centres, upstreams and fronting
	// hosts. Nil means a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// StallTimeout is how long nothing may come down after something went up
	// before that is counted and logged. 0 means DefaultStallTimeout, a
	// negative value never.
	StallTimeout time.Duration

	// Log gets one line for each connection, at its end. Nil means
	// slog.Default.
	Log *slog.Logger
	// LogClients puts the clients' addresses into these lines.
	LogClients bool
}

// Proxy is an MTProxy server. Its methods may be called concurrently.
type Proxy struct {
	config      Config
	listen      mtwire.ListenConfig
	trust       proxyprotocol.Trust
	lobby       lobby
	search      search
	replay      replayMemory
	router      *route.Router
	front       *fronting.Pool // nil if there are no fronting hosts
	relaying    splice.Config
	counters    counters
	strangerLog lineLimit
	serving     atomic.Pointer[serving]
	running     sync.WaitGroup // the sessions

	mu       sync.Mutex
	sessions map[*session]struct{}
}

// New returns a proxy. It fails if there is no user: such a proxy would be
// open to all, or to nobody.
func New(config Config) (*Proxy, error) {
	if len(config.Users) == 0 {
		return nil, errors.New("proxy: no secret")
	}
	if config.Modes == 0 {
		config.Modes = mtproxy.AllModes
	}
	if config.StallTimeout == 0 {
		config.StallTimeout = DefaultStallTimeout
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	if err := checkUsers(&config); err != nil {
		return nil, err
	}
	p := &Proxy{config: config, sessions: make(map[*session]struct{})}
	var err error
	if p.trust, err = proxyprotocol.ParseTrust(config.TrustedProxies); err != nil {
		return nil, fmt.Errorf("proxy: trusted proxies: %w", err)
	}
	if p.router, err = newRouter(&config); err != nil {
		return nil, err
	}
	if p.front, err = newFront(&config); err != nil {
		return nil, err
	}
	p.search.prepare(config.Users, config.Modes)
	p.listen = mtwire.ListenConfig{
		FindSecret:  p.findSecret,
		FakeTLSOnly: len(p.search.bare.places) == 0,
		Permit:      p.permit,
		Replay:      p.replay.seen,
		ClockWindow: config.ClockWindow,
	}
	if p.front != nil {
		p.listen.Unknown, p.listen.Flight = p.stranger, p.front.ServerHello
	}
	for _, user := range config.Users {
		p.listen.Secrets = append(p.listen.Secrets, user.Secret)
	}
	return p, nil
}

// checkUsers fails if a user cannot connect, or cannot be told from another.
func checkUsers(config *Config) error {
	places := make(map[mtproxy.Secret]int, len(config.Users))
	for i, user := range config.Users {
		if user.Secret.Modes()&config.Modes == 0 {
			return fmt.Errorf("proxy: nobody can use the secret of user %d, %q: it allows %v, and the proxy %v",
				i+1, user.Name, user.Secret.Modes(), config.Modes)
		}
		anyMode := mtproxy.Secret{Key: user.Secret.Key, Domain: strings.ToLower(user.Secret.Domain)}
		if before, ok := places[anyMode]; ok {
			return fmt.Errorf("proxy: users %d, %q, and %d, %q, have one secret: keep the one that allows more",
				before+1, config.Users[before].Name, i+1, user.Name)
		}
		places[anyMode] = i
	}
	return nil
}

func newRouter(config *Config) (*route.Router, error) {
	var upstreams []route.UpstreamURL
	for _, u := range config.Upstreams {
		upstreams = append(upstreams, u.url)
	}
	return route.New(route.Config{
		DataCenters:     config.DataCenters,
		Upstreams:       upstreams,
		Family:          config.Family,
		Default:         config.DefaultDC,
		DisableFastMode: config.DisableFastMode,
		DialTimeout:     config.DialTimeout,
		DialContext:     config.DialContext,
	})
}

func newFront(config *Config) (*fronting.Pool, error) {
	hosts, err := fronts(config)
	if err != nil || len(hosts) == 0 {
		return nil, err
	}
	return fronting.New(fronting.Config{
		Hosts:       hosts,
		DialContext: config.DialContext,
		DialTimeout: config.DialTimeout,
		Log:         config.Log,
	})
}

// errMode means that a client knows a secret and may not use it like that.
var errMode = errors.New("the secret, or the proxy, does not allow this mode")

func (p *Proxy) permit(t mtwire.Transport) error {
	if mode := modeOf(t); mode&p.config.Modes&p.config.Users[t.Secret].Secret.Modes() == 0 {
		return fmt.Errorf("%v: %w", mode, errMode)
	}
	return nil
}
