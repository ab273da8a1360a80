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
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/relay"
)

const (
	// DefaultDialTimeout bounds one attempt to reach a data centre.
	DefaultDialTimeout = 5 * time.Second
	// DefaultStallTimeout is how long a data centre may owe an answer.
	DefaultStallTimeout = 15 * time.Second
)

// User is somebody, or a group, who has a secret.
type User struct {
	// Name is what the log calls them. It may be empty.
	Name string
	// Secret is what their clients know. Its mode is the least that they must
	// use: a dd secret is good for dd and ee, a plain one for all three.
	Secret obfuscation.Secret
}

// Config is what an operator chooses. Users are required; the zero value of
// every other field is good.
type Config struct {
	// Users are those who may use the proxy. A secret is theirs alone.
	Users []User

	// Modes are those that are taken at all. 0 means AllModes.
	Modes Modes

	// DataCenters says where data centres are, by signed number; number 0
	// stands for all that are not named. Values are host:port. What is not
	// here is looked up in the public table.
	DataCenters map[obfuscation.DC]string
	// DialContext opens connections to data centres. Nil means a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// DialTimeout bounds each attempt. 0 means DefaultDialTimeout.
	DialTimeout time.Duration

	// StallTimeout is how long nothing may come down after something went up
	// before that is counted and logged. 0 means DefaultStallTimeout, a
	// negative value never.
	StallTimeout time.Duration

	// Unknown is given every connection that does not know a secret, that
	// replays a handshake, or whose clock is off, with all its bytes still to
	// be read; it is closed when Unknown returns. Nil means to read on for a
	// while and answer nothing. See mtwire.ListenConfig.
	Unknown func(conn net.Conn, why error)

	// Log gets one line for each connection, at its end. Nil means
	// slog.Default.
	Log *slog.Logger
	// LogClients puts the clients' addresses into these lines.
	LogClients bool
}

// Proxy is an MTProxy server. Its methods may be called concurrently.
type Proxy struct {
	config   Config
	listen   mtwire.ListenConfig
	replay   replayMemory
	relaying relay.Config
	counters counters

	serving atomic.Pointer[serving]
	running sync.WaitGroup // the sessions

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
		config.Modes = AllModes
	}
	if config.DialContext == nil {
		config.DialContext = (&net.Dialer{}).DialContext
	}
	if config.DialTimeout == 0 {
		config.DialTimeout = DefaultDialTimeout
	}
	if config.StallTimeout == 0 {
		config.StallTimeout = DefaultStallTimeout
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	p := &Proxy{config: config, sessions: make(map[*session]struct{})}
	p.listen = mtwire.ListenConfig{Unknown: config.Unknown, Permit: p.permit, Replay: p.replay.seen}
	for _, user := range config.Users {
		p.listen.Secrets = append(p.listen.Secrets, user.Secret)
	}
	return p, nil
}

// errMode means that a client knows a secret and may not use it like that.
var errMode = errors.New("the secret, or the proxy, does not allow this mode")

func (p *Proxy) permit(t mtwire.Transport) error {
	if mode := modeOf(t); mode&p.config.Modes&modesOf(p.config.Users[t.Secret].Secret) == 0 {
		return fmt.Errorf("%v: %w", mode, errMode)
	}
	return nil
}
