// Package route knows where a data centre is and how to get there: straight,
// through a SOCKS5 or HTTP proxy, or by way of another MTProxy. It tries a few
// of the ways, side by side if the first is slow, and remembers which failed.
//
//	router.go      what an operator chooses
//	place.go       a data centre's number -> addresses
//	family.go      IPv4 and IPv6
//	upstream.go    the ways out, as text
//	health.go      which addresses and ways out failed of late
//	choice.go      what is tried, and in which order
//	race.go        the attempts of one Dial
//	connect.go     one attempt; socks5.go, httpconnect.go
//	leg.go         what comes out of it: a connection and its ciphers
package route

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/obfuscation"
)

// DefaultDialTimeout bounds one attempt.
const DefaultDialTimeout = 5 * time.Second

// ErrUnknownDC means that a client asked for a data centre that is in no list,
// and that there is no default.
var ErrUnknownDC = errors.New("no data centre has this number")

// Config is what an operator chooses. The zero value goes straight to the data
// centres of the public table. It must not change while it is in use.
type Config struct {
	// DataCenters says where data centres are, by signed number; number 0
	// stands for all that are not named. A media number that is in neither
	// way here goes where the main one does. Values are host:port, the one to
	// try first in front; a name is looked up by whoever connects to it, which
	// may be a SOCKS5 or HTTP proxy. What is not here is looked up in the
	// public table.
	DataCenters map[datacenter.DC][]string

	// Upstreams are the ways out. Each takes its part of the connections by
	// weight, as long as it works. None means the direct way.
	//
	// An upstream that is an MTProxy finds data centres by itself: for it,
	// DataCenters only makes numbers known.
	Upstreams []Upstream

	// Family is which of the table's addresses are used. Addresses in
	// DataCenters are used as they are.
	Family datacenter.Family

	// Default is the data centre for clients that ask for one that is neither
	// in DataCenters nor in the table. 0 means that they are refused.
	Default datacenter.DC

	// UnrelatedKeys draws keys of their own for what comes from the data
	// centre, instead of asking it for the key stream that the client expects.
	// Somebody who sees both sides then sees two unrelated ciphertexts, and
	// every byte that comes down has to be decrypted and encrypted.
	UnrelatedKeys bool

	// DialTimeout bounds each attempt, proxies' handshakes included. 0 means
	// DefaultDialTimeout.
	DialTimeout time.Duration

	// DialContext opens TCP connections, to data centres and upstreams. It
	// must return soon after its context has ended. Nil means a net.Dialer that
	// lets connections be silent for a while.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLS is for https upstreams. Nil means the system's roots.
	TLS *tls.Config

	// Time is the clock of the memory for failures, and the one shown to an
	// upstream that is an MTProxy with an ee secret. Nil means time.Now.
	Time func() time.Time

	// Rand is the source of init payloads and FakeTLS hellos. It is used
	// concurrently. Nil means the system's.
	Rand io.Reader
}

// Router finds the way to data centres. Its methods may be called
// concurrently.
type Router struct {
	config Config

	mu   sync.Mutex
	ways []*way // the slice never changes, what it points to is under mu
}

// New checks config and returns a router. It does no I/O.
func New(config Config) (*Router, error) {
	config.DataCenters = maps.Clone(config.DataCenters)
	for dc, addresses := range config.DataCenters {
		if len(addresses) == 0 {
			return nil, fmt.Errorf("route: data centre %d has no address", dc)
		}
		for _, address := range addresses {
			if err := checkAddress(address); err != nil {
				return nil, fmt.Errorf("route: data centre %d: address %q: %w", dc, address, err)
			}
		}
		config.DataCenters[dc] = slices.Clone(addresses)
	}
	if config.Family > datacenter.OnlyIPv6 {
		return nil, fmt.Errorf("route: no such address family: %d", config.Family)
	}
	if config.DialTimeout == 0 {
		config.DialTimeout = DefaultDialTimeout
	}
	if config.DialContext == nil {
		// Probes find out that the other end is gone, and keep the way open
		// through address translation, which may forget it after five minutes.
		// Package net would begin after 15 seconds of silence: with 50,000
		// clients that wait, that is 3,000 probes a second, each answered.
		dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 2 * time.Minute, Interval: 30 * time.Second, Count: 4,
		}}
		config.DialContext = dialer.DialContext
	}
	if config.Time == nil {
		config.Time = time.Now
	}
	r := &Router{config: config}
	if _, known := r.addresses(config.Default); config.Default != 0 && !known {
		return nil, fmt.Errorf("route: default data centre %d: %w", config.Default, ErrUnknownDC)
	}
	upstreams := config.Upstreams
	if len(upstreams) == 0 {
		upstreams = []Upstream{{}}
	}
	for _, u := range upstreams {
		r.ways = append(r.ways, &way{Upstream: u, behind: make(map[string]*health)})
	}
	return r, nil
}

// Dial connects to a data centre, for a client that asked for dc in this
// framing and expects its answers in the key stream download.
//
// It makes at most four attempts. The next one starts as soon as one has
// failed, or when the one before it has had a head start of 300 ms, or of one
// second if that goes through an upstream; the first to connect wins. Other
// addresses and upstreams come first where one failed lately.
//
// With download nil, Config.UnrelatedKeys, or an MTProxy as the upstream, the
// leg has a key stream of its own: see Leg.Receive.
//
// The error is ErrUnknownDC, obfuscation.ErrFull for a framing without a tag,
// the cause of ctx if that ended, or what all attempts said. It has data
// centres' and upstreams' addresses in it and no credentials. When Dial returns,
// all that it began has ended but for the leg's connection, which is the
// caller's.
func (r *Router) Dial(ctx context.Context, dc datacenter.DC, protocol frame.Protocol, download *obfuscation.KeyStream) (*Leg, error) {
	leg, err := r.dial(ctx, dc, protocol, download)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dc.Describe(), err)
	}
	return leg, nil
}

func (r *Router) dial(ctx context.Context, dc datacenter.DC, protocol frame.Protocol, download *obfuscation.KeyStream) (*Leg, error) {
	if _, ok := protocol.Tag(); !ok {
		return nil, obfuscation.ErrFull // before anybody is bothered
	}
	place, err := r.place(dc)
	if err != nil {
		return nil, err
	}
	winner, err := r.race(ctx, place.addresses)
	if err != nil {
		return nil, err
	}
	leg, err := r.leg(winner, place.dc, protocol, download)
	if err != nil {
		winner.conn.Close()
		return nil, err
	}
	return leg, nil
}

// checkAddress accepts host:port with a port in digits. It quotes nothing.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return errors.New("want host:port, with an IPv6 address in brackets")
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r == ' ' || r == '/' || r == '@' || !unicode.IsPrint(r) }) {
		return errors.New("the host has a character that belongs into no host name")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("the port is not a number from 1 to 65535")
	}
	return nil
}
