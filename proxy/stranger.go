package proxy

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/fronting"
)

// patience is how long a client may say nothing until the fronting host is
// asked what it would say to that. Telegram's clients open connections ahead of
// their need, but most speak sooner.
const patience = 3 * time.Second

// Where there is no fronting host to be as patient as, a client may say nothing
// for so long. Telegram's keep connections ready for minutes. The limit is drawn
// for each, so that it is no fingerprint.
const (
	minSilence    = 5 * time.Minute
	silenceSpread = 5 * time.Minute
)

func silenceLimit() time.Duration { return minSilence + rand.N(silenceSpread) }

// fronts are the fronting hosts: every domain of a FakeTLS secret, and where
// the configuration says it is; then those that only the configuration names.
// The first is for strangers that name none of them.
func fronts(config *Config) (hosts []fronting.Host, err error) {
	places := make(map[string]string)
	for domain, address := range config.Fronts {
		places[strings.ToLower(domain)] = address
	}
	named := make(map[string]bool)
	add := func(domain, address string) {
		if !named[domain] {
			named[domain] = true
			hosts = append(hosts, fronting.Host{Domain: domain, Address: address})
		}
	}
	for _, user := range config.Users {
		if domain := strings.ToLower(user.Secret.Domain); domain != "" {
			add(domain, cmp.Or(places[domain], places[""]))
		}
	}
	if address := places[""]; address != "" && len(hosts) == 0 {
		// No secret has a domain, but strangers are to be sent somewhere.
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		add(strings.ToLower(host), address)
	}
	for _, domain := range slices.Sorted(maps.Keys(places)) {
		if domain != "" {
			add(domain, places[domain])
		}
	}
	return hosts, nil
}

// stranger pipes a connection to its fronting host.
func (p *Proxy) stranger(ctx context.Context, conn net.Conn, _ error) {
	s := sessionOf(ctx)
	p.lobby.enter(s, false) // again, if it has shown a secret that it may not use
	first, client := unwrap(conn)
	tunnel := p.front.Tunnel
	if s.early != nil {
		tunnel = s.early.Tunnel
	}
	s.fronted, s.frontErr = tunnel(ctx, client, first)
}

// unwrap returns the bytes still to be replayed by conn and the connection
// below it; or no bytes and conn, if nothing was read from it.
func unwrap(conn net.Conn) (first []byte, client net.Conn) {
	if c, ok := conn.(interface{ Replayed() ([]byte, net.Conn) }); ok {
		return c.Replayed()
	}
	return nil, conn
}

// await waits for the client's first byte. When it says nothing for a while,
// the fronting host is connected beside it: if that speaks or hangs up first,
// the client is a stranger, and sees just that.
func (s *session) await(ctx context.Context, client *mtwire.Conn) error {
	if s.proxy.front == nil {
		limited, cancel := context.WithTimeout(ctx, silenceLimit())
		defer cancel()
		return client.Await(limited)
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	err := client.Await(patient)
	cancel()
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	err, host := s.race(ctx, client)
	if !host {
		return err
	}
	s.fronted, s.frontErr = s.early.Tunnel(ctx, s.socket, nil)
	return errSilent
}

// race waits for the client or the host to speak. host says that it was the
// host, and nothing has come from the client; otherwise err is the client's. A
// host that cannot be reached says nothing, and the client may do so for a limited
// time.
func (s *session) race(ctx context.Context, client *mtwire.Conn) (err error, host bool) {
	hostCtx, clientSpoke := context.WithCancel(ctx)
	defer clientSpoke()
	clientCtx, hostSpoke := context.WithCancel(ctx)
	defer hostSpoke()
	waited := make(chan error, 1)
	go func() {
		var err error
		if s.early, err = s.proxy.front.Preconnect(hostCtx, s.socket.LocalAddr()); err == nil {
			err = s.early.Wait(hostCtx)
		} else {
			select {
			case <-time.After(silenceLimit()):
				hostSpoke()
			case <-hostCtx.Done():
			}
		}
		if err == nil {
			hostSpoke()
		}
		waited <- err
	}()
	err = client.Await(clientCtx)
	clientSpoke()
	return err, <-waited == nil && err != nil && errors.Is(err, context.Canceled) && ctx.Err() == nil
}

var errSilent = errors.New("the client said nothing, and the fronting host did")
