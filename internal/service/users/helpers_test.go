package users

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// session is a client of a user.
type session struct {
	proxy.Session
	user   *proxy.User
	client string
	addr   netip.Addr // of client

	mu      sync.Mutex
	account proxy.Account
	stage   proxy.Stage
	closed  error
	at      time.Time // when it was closed
}

func (s *session) User() *proxy.User { return s.user }

func (s *session) ClientAddr() netip.Addr { return s.addr }

func (s *session) Report() proxy.Report { return proxy.Report{Client: s.client, Stage: s.stage} }

// Close ends the session as the proxy does: Done is called.
func (s *session) Close(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		s.closed, s.at = cmp.Or(cause, net.ErrClosed), time.Now()
		s.account.Done(s.Report())
	}
}

// cause returns what closed the session, nil if it is open.
func (s *session) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// newSession returns a client of a user at an address, such as client.
func newSession(name, client string) *session {
	addr, _ := netip.ParseAddrPort(client) // a Unix socket's has none
	return &session{user: &proxy.User{Name: name}, client: client, addr: addr.Addr(), stage: proxy.Authenticated}
}

// admit asks p about a client at an address.
func admit(p *Policy, name, client string) (*session, error) {
	s := newSession(name, client)
	var err error
	s.account, err = p.Admit(context.Background(), s)
	return s, err
}

// admitted is admit for a client that must be admitted.
func admitted(t *testing.T, p *Policy, name, client string) *session {
	t.Helper()
	s, err := admit(p, name, client)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refused checks that a client is refused for that cause.
func refused(t *testing.T, p *Policy, name, client string, cause Cause) {
	t.Helper()
	_, err := admit(p, name, client)
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Cause != cause || refusal.User != name {
		t.Errorf("%s from %s: %v, want %v", name, client, err, cause)
	}
}

func proxySecrets(seeds ...uint64) (all []mtproxy.Secret) {
	for _, seed := range seeds {
		all = append(all, secretOf(seed))
	}
	return all
}

const client = "192.0.2.7:4567"

// newPolicy returns a policy with users.
func newPolicy(list ...User) *Policy {
	p := New(Config{Log: slog.New(slog.DiscardHandler)})
	p.Set(list)
	return p
}

// alice returns a user with limits.
func alice(l Limits) User { return User{Name: "alice", Limits: l} }

// usageOf returns the usage of a user.
func usageOf(t *testing.T, p *Policy, name string) Usage {
	t.Helper()
	_, usage, ok := p.Usage(name)
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	return usage
}

// running runs p in a bubble until test returns.
func running(t *testing.T, p func() *Policy, test func(t *testing.T, p *Policy)) {
	synctest.Test(t, func(t *testing.T) {
		p := p()
		ctx, stop := context.WithCancel(t.Context())
		go p.Run(ctx)
		test(t, p)
		stop()
	})
}

// logText is a log as text.
type logText struct {
	mu sync.Mutex
	strings.Builder
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(b)
}

// lines returns the lines that contain what.
func (l *logText) lines(what string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, what) {
			found = append(found, line)
		}
	}
	return found
}

// secretOf returns a secret that differs for each seed.
func secretOf(seed uint64) (s mtproxy.Secret) {
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range s.Key {
		s.Key[i] = byte(random.Uint32())
	}
	s.Mode = mtproxy.Padded
	return s
}
