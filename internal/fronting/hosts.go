package fronting

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
)

var errNoHost = errors.New("no fronting host")

// Host is a fronting host: the site that a FakeTLS secret's domain names.
type Host struct {
	// Domain is the domain of the secret. Case is ignored.
	Domain string

	// Address is the address of the site: host:port, or unix:/PATH with an
	// absolute path. Empty means Domain, port 443.
	Address string

	// ProxyProtocol is the version of the PROXY protocol header with which each
	// connection to the site begins. The header has the client's address, or is
	// LOCAL if the connection is a probe. None means that there is no header.
	ProxyProtocol proxyprotocol.Version
}

// host is a Host and what is known about it.
type host struct {
	Host // Domain in lower case, Address never empty

	network, target string // Address, as it is dialed

	newKind chan struct{} // gets an element when a kind is new

	mu       sync.Mutex
	kinds    map[faketls.Kind]*kind // see kinds.go
	browser  *kind                  // that of the probes; nil until they were answered
	newKinds int                    // added since the last round
	records  Records
	patience time.Duration
	warned   warning // about connections
	refused  warning // about clients' hellos
	several  int     // encrypted records in the flight, when that was last warned of

	// Self-connection detection: see selfloop.go and unanswered.go.
	probes     []*probe  // those that are not settled
	failed     time.Time // when a probe last got no answer; zero after an answer
	isProxy    bool      // the host is this proxy
	unanswered int       // connections that the host has not answered
	allowance  int       // limit for unanswered, if more than minUnanswered
}

func newHost(h Host, network, target string) *host {
	return &host{
		Host:     h,
		network:  network,
		target:   target,
		newKind:  make(chan struct{}, 1),
		kinds:    make(map[faketls.Kind]*kind),
		records:  Records{Max: DefaultMaxRecord},
		patience: DefaultPatience,
	}
}

// hostSet is an immutable list of hosts that differ in their domain.
type hostSet struct {
	hosts    []*host // the first is the default
	byDomain map[string]*host
	replaced chan struct{} // closed when SetHosts stores another set
}

// SetHosts replaces the hosts. The first host is for clients that name no
// known domain. Without hosts, unauthenticated clients get no answer.
//
// A host that stays, the same in all fields, keeps its measurements and what was
// learnt about it. Run probes the new hosts and stops probing the
// removed ones; connections to these go on. If two hosts have the same domain,
// or an address is invalid, SetHosts returns an error and changes nothing.
func (p *Pool) SetHosts(hosts []Host) error {
	p.setting.Lock()
	defer p.setting.Unlock()
	current := p.hosts.Load()
	next, err := newHostSet(hosts, current)
	if err != nil {
		return err
	}
	p.hosts.Store(next)
	close(current.replaced)
	return nil
}

// CheckHosts returns the error that SetHosts would return. It changes nothing.
func (p *Pool) CheckHosts(hosts []Host) error {
	_, err := newHostSet(hosts, p.hosts.Load())
	return err
}

// newHostSet returns the set of hosts, with those of current that stay.
func newHostSet(hosts []Host, current *hostSet) (*hostSet, error) {
	next := &hostSet{byDomain: make(map[string]*host, len(hosts)), replaced: make(chan struct{})}
	for _, h := range hosts {
		h.Domain = strings.ToLower(h.Domain)
		if h.Domain == "" {
			return nil, errors.New("fronting: host without a domain")
		}
		if next.find(h.Domain) != nil {
			return nil, fmt.Errorf("fronting: two hosts for %s", h.Domain)
		}
		if h.Address == "" {
			h.Address = net.JoinHostPort(h.Domain, "443")
		}
		network, target, err := netx.SplitNetwork(h.Address)
		if err != nil {
			return nil, fmt.Errorf("fronting: address of %s: %w", h.Domain, err)
		}
		if h.ProxyProtocol > proxyprotocol.V2 {
			return nil, fmt.Errorf("fronting: %s: no PROXY protocol has version %d", h.Domain, h.ProxyProtocol)
		}
		entry := current.find(h.Domain)
		if entry == nil || entry.Host != h {
			entry = newHost(h, network, target)
		}
		next.hosts = append(next.hosts, entry)
		next.byDomain[h.Domain] = entry
	}
	return next, nil
}

// Empty reports whether there are no hosts.
func (p *Pool) Empty() bool { return len(p.hosts.Load().hosts) == 0 }

// find returns the host of that domain, nil if there is none.
func (s *hostSet) find(domain string) *host { return s.byDomain[strings.ToLower(domain)] }

// choose returns the host for the server name of a client: the first host if the
// name is empty or unknown, nil if there are no hosts.
func (p *Pool) choose(serverName string) *host {
	s := p.hosts.Load()
	if h := s.find(serverName); h != nil || len(s.hosts) == 0 {
		return h
	}
	return s.hosts[0]
}
