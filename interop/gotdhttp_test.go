package interop

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/interop/gotd"
)

// httpSite is a data centre over HTTP, and a client's connections to it, whatever host they
// are for.
type httpSite struct {
	*gotd.HTTPDataCenter
	key     exchange.PrivateKey
	address string
	config  *mtwire.DialConfig

	down    atomic.Bool // connections are refused
	refused atomic.Int32
	mu      sync.Mutex
	hosts   map[string]bool // that were dialled
}

func startHTTPSite(t *testing.T) *httpSite {
	t.Helper()
	serverTLS, trust := certificate(t)
	s := &httpSite{key: rsaKey(t), hosts: map[string]bool{}}
	s.HTTPDataCenter = gotd.NewHTTPDataCenter(s.key, gotd.DC)
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{TLS: serverTLS})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- ln.Serve(ctx, s.Handle) }()
	t.Cleanup(func() { cancel(); <-served })
	s.address = ln.Addr().String()
	trust = trust.Clone()
	trust.InsecureSkipVerify = true // under any name
	s.config = &mtwire.DialConfig{TLS: trust, DialContext: s.dial}
	return s
}

func (s *httpSite) dial(ctx context.Context, network, address string) (net.Conn, error) {
	s.mu.Lock()
	s.hosts[address] = true
	s.mu.Unlock()
	if s.down.Load() {
		s.refused.Add(1)
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("refused")}
	}
	return new(net.Dialer).DialContext(ctx, network, s.address)
}

// dialled reports whether a host was.
func (s *httpSite) dialled(address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts[address]
}

// Whole sessions of gotd's client over HTTP and HTTPS, with the requests of each on several
// connections: a key, calls, files.
func TestGotdOverHTTPAtBothEnds(t *testing.T) {
	r := &report{client: "gotd on mtwire", server: "sessions over HTTP"}
	t.Cleanup(func() { r.print(t) })
	for name, endpoint := range map[string]string{"http": "http://%/api", "https": "https://%/api", "a data centre's host": "https"} {
		t.Run(name, func(t *testing.T) {
			r.add(t, name, "auth key, calls")
			t.Parallel()
			s := startHTTPSite(t)
			ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
			defer cancel()
			resolver := resolver(t, strings.ReplaceAll(endpoint, "%", s.address), s.config)
			if err := gotd.Use(ctx, resolver, dcs.List{}, s.key.Public(), gotd.MaxFile); err != nil {
				t.Fatal(err)
			}
			stats := s.Stats()
			if stats.Keys != 1 || stats.Sessions != 1 || stats.SessionConnections < 2 || stats.Waits == 0 {
				t.Errorf("%+v", stats)
			}
			if endpoint == "https" && !s.dialled("venus.web.telegram.org:443") {
				t.Errorf("hosts %v", s.hosts)
			}
		})
	}
}

// run runs gotd's client over HTTPS, with a channel of the updates that it gets.
func (s *httpSite) run(t *testing.T, use func(ctx context.Context, client *telegram.Client, updates <-chan int) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	often := func() backoff.BackOff { return backoff.NewConstantBackOff(10 * time.Millisecond) }
	options := gotd.Options(resolver(t, "https", s.config), dcs.List{}, s.key.Public(), often)
	updates := make(chan int, 100)
	options.NoUpdates = false
	options.UpdateHandler = telegram.UpdateHandlerFunc(func(_ context.Context, u tg.UpdatesClass) error {
		if all, ok := u.(*tg.Updates); ok {
			updates <- all.Seq
		}
		return nil
	})
	client := telegram.NewClient(1, "hash", options)
	if err := client.Run(ctx, func(ctx context.Context) error { return use(ctx, client, updates) }); err != nil {
		t.Error(err)
	}
}

// expect waits for an update with that number.
func expect(ctx context.Context, updates <-chan int, seq int) error {
	for {
		select {
		case got := <-updates:
			if got == seq {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A message that the server has of its own accord arrives by http_wait, one after another,
// while calls go on, and http_wait without a message costs one request.
func TestGotdGetsUpdatesOverHTTP(t *testing.T) {
	t.Parallel()
	s := startHTTPSite(t)
	s.run(t, func(ctx context.Context, client *telegram.Client, updates <-chan int) error {
		for seq := 1; seq <= 5; seq++ {
			if err := s.Push(&tg.Updates{Seq: seq}); err != nil {
				return err
			}
			if err := expect(ctx, updates, seq); err != nil {
				return err
			}
			if _, err := client.API().HelpGetConfig(ctx); err != nil {
				return err
			}
		}
		if stats := s.Stats(); stats.Waits > 20 || stats.Unanswered > 0 {
			t.Errorf("%+v", stats)
		}
		return nil
	})
}

// A session goes on when its connections are cut, and when the server cannot be reached for
// a while, with the same key.
func TestGotdComesBackOverHTTP(t *testing.T) {
	t.Parallel()
	s := startHTTPSite(t)
	s.run(t, func(ctx context.Context, client *telegram.Client, updates <-chan int) error {
		seq := 0
		works := func() error {
			if _, err := client.API().HelpGetConfig(ctx); err != nil {
				return err
			}
			seq++
			if err := s.Push(&tg.Updates{Seq: seq}); err != nil {
				return err
			}
			return expect(ctx, updates, seq)
		}
		if err := works(); err != nil {
			return err
		}
		for range 3 {
			s.CloseConnections()
			if err := works(); err != nil {
				return err
			}
		}
		s.down.Store(true)
		s.CloseConnections()
		call := make(chan error, 1)
		go func() { // in the meantime
			_, err := client.API().HelpGetConfig(ctx)
			call <- err
		}()
		for s.refused.Load() < 6 {
			time.Sleep(10 * time.Millisecond)
		}
		s.down.Store(false)
		if err := <-call; err != nil {
			return err
		}
		if err := works(); err != nil {
			return err
		}
		if stats := s.Stats(); stats.Keys != 1 {
			t.Errorf("%+v", stats)
		}
		return nil
	})
}

// Media has a session of its own, at the data centre's second name.
func TestGotdHasMediaOverHTTP(t *testing.T) {
	t.Parallel()
	s := startHTTPSite(t)
	s.run(t, func(ctx context.Context, client *telegram.Client, _ <-chan int) error {
		media, err := client.MediaOnly(ctx, gotd.DC, 2)
		if err != nil {
			return err
		}
		defer media.Close()
		for range 3 {
			if err := gotd.FetchDocument(ctx, tg.NewClient(media)); err != nil {
				return err
			}
		}
		if !s.dialled("venus-1.web.telegram.org:443") || !s.dialled("venus.web.telegram.org:443") {
			t.Errorf("hosts %v", s.hosts)
		}
		if stats := s.Stats(); stats.Sessions < 2 {
			t.Errorf("%+v", stats)
		}
		return nil
	})
}
