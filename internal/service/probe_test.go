package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
)

// The results of all probes are one line: a warning if a data centre answers over no
// upstream.
func TestProbesAreOneLine(t *testing.T) {
	good := func(dc datacenter.DC, via string) proxy.Probe {
		return proxy.Probe{DC: dc, Upstream: via, Address: "192.0.2.1:443", Duration: 35*time.Millisecond + 1}
	}
	bad := func(dc datacenter.DC, via string) proxy.Probe {
		return proxy.Probe{DC: dc, Upstream: via, Duration: time.Second, Err: errors.New("192.0.2.1:443 (" + via + "): refused; 192.0.2.1:80 (" + via + "): refused")}
	}
	for _, test := range []struct {
		probes []proxy.Probe
		want   string
	}{
		{[]proxy.Probe{good(-2, "direct"), good(1, "direct")},
			`level=INFO msg="data centres answer" dc-2="direct 35ms" dc1="direct 35ms"`},
		{[]proxy.Probe{good(1, "direct"), bad(1, "socks5://s:1"), bad(2, "direct"), good(2, "socks5://s:1")},
			`level=INFO msg="data centres answer" dc1="direct 35ms, socks5://s:1 failed: 192.0.2.1:443: refused; 192.0.2.1:80: refused" dc2="direct failed: 192.0.2.1:443: refused; 192.0.2.1:80: refused, socks5://s:1 35ms"`},
		{[]proxy.Probe{good(1, "direct"), bad(2, "direct")},
			`level=WARN msg="some data centres do not answer" dc1="direct 35ms" dc2="direct failed: 192.0.2.1:443: refused; 192.0.2.1:80: refused"`},
		{[]proxy.Probe{bad(1, "direct"), bad(2, "direct")},
			`level=WARN msg="no data centre answers: clients cannot be served; check the network and --upstream" dc1="direct failed: `},
	} {
		var log bytes.Buffer
		logProbes(slog.New(slog.NewTextHandler(&log, nil)), test.probes)
		if line := log.String(); !strings.Contains(line, test.want) || strings.Count(line, "\n") != 1 {
			t.Errorf("%s\nwant %s", line, test.want)
		}
	}
}

// Without Config.Probe no data centre is asked, and what waits for the answers goes on.
func TestDataCentersAreNotTriedWithoutProbe(t *testing.T) {
	r := run(t, func(c *Config) { c.Probe = false })
	<-r.Probed()
	r.connect(t)
	if log := r.log.String(); strings.Contains(log, "data centre") {
		t.Error(log)
	}
}

// At the start every data centre is tried in the background: clients are served
// meanwhile, and the end does not wait.
func TestDataCentersAreTriedAtTheStart(t *testing.T) {
	r := run(t, nil)
	r.connect(t)
	want := regexp.MustCompile(`level=INFO msg="data centres answer" dc1="direct [0-9.]+m?s" dc2="direct \S+" dc3="direct \S+" dc4="direct \S+" dc5="direct \S+"\n`)
	for end := time.Now().Add(20 * time.Second); !want.MatchString(r.log.String()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(r.log.String())
		}
	}
	r.cancel()
	if err := r.result(t); err != nil {
		t.Error(err)
	}

	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r = run(t, func(c *Config) {
		c.DialTimeout = time.Hour
		c.DataCenters = []DataCenterAddress{{0, silent.Addr().String()}}
	})
	r.cancel()
	if err := r.result(t); err != nil {
		t.Error(err)
	}
	if strings.Contains(r.log.String(), "data centre") {
		t.Error(r.log.String())
	}
}

// linkTo returns the first link to a running service, with another secret unless it is
// empty.
func (r *running) linkTo(t *testing.T, secret string) proxy.Upstream {
	t.Helper()
	links, _ := r.Links(t.Context())
	link := links[0].Link
	link.Server = "127.0.0.1"
	if secret != "" {
		parsed, err := mtproxy.ParseSecret(secret)
		if err != nil {
			t.Fatal(err)
		}
		link.Secret = parsed
	}
	upstream, err := proxy.ParseUpstream(link.String())
	if err != nil {
		t.Fatal(err)
	}
	return upstream
}

// answerTime is how long an upstream may take for its answer, which some do not give.
const answerTime = 500 * time.Millisecond

// withSecret returns a change of the configuration to one user with a secret.
func withSecret(t *testing.T, secret string) func(*Config) {
	t.Helper()
	parsed, err := mtproxy.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) {
		c.Secrets = []NamedSecret{{Name: "one", Secret: parsed}}
		c.Fronts = nil
		c.DialTimeout = answerTime
	}
}

// awaitProbes waits until the start's checks are in the log.
func (r *running) awaitProbes(t *testing.T) string {
	t.Helper()
	select {
	case <-r.Probed():
	case <-time.After(20 * time.Second):
		t.Fatal("the data centres are not tried")
	}
	return r.log.String()
}

// upstreamCase is a proxy's secret and upstreams, and what becomes of its classic clients.
type upstreamCase struct {
	secret    string
	upstreams []proxy.Upstream
	want      string // in the log
	refused   bool
}

// At the start, a warning names an MTProxy upstream that takes dd and ee clients only,
// if users may have classic clients. These are then refused at once, counted and
// logged, or go over another upstream.
func TestUpstreamsForPaddedClientsAreNamedAtTheStart(t *testing.T) {
	next := run(t, withSecret(t, mtwiretest.PaddedSecret))
	link := next.linkTo(t, "")
	for _, c := range []upstreamCase{
		{mtwiretest.PlainSecret, []proxy.Upstream{link}, `level=WARN msg="classic clients are refused, because the upstreams take dd and ee clients only: `, true},
		{mtwiretest.PlainSecret, []proxy.Upstream{link, {}}, `level=WARN msg="classic clients are not sent over these upstreams, which take dd and ee clients only" upstreams="mtproxy 127.0.0.1:`, false},
		{mtwiretest.PaddedSecret, []proxy.Upstream{link}, "", false},
	} {
		if err := loopback.Undisturbed(answerTime/2, func() error {
			return c.run(t)
		}); err != nil {
			t.Error(err)
		}
	}
}

// run checks a proxy with the upstreams of c, and its clients.
func (c upstreamCase) run(t *testing.T) error {
	var errs []error
	failed := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	r := run(t, func(config *Config) {
		withSecret(t, c.secret)(config)
		config.Upstreams = c.upstreams
	})
	log := r.awaitProbes(t)
	if c.want == "" && strings.Contains(log, "level=WARN") || !strings.Contains(log, c.want) {
		failed("%s\nwant %s", log, c.want)
	}
	protocol := "&protocol=abridged"
	if c.secret != mtwiretest.PlainSecret {
		protocol = ""
	}
	const clients = 3
	for range clients {
		err := r.echoes(t, c.secret, protocol)
		if (err != nil) != c.refused {
			failed("the client: %v", err)
		}
	}
	want := 0
	if c.refused {
		want = clients
	}
	if n := int(r.proxy.Stats().RefusedFraming); n != want {
		failed("%d clients are counted, want %d", n, want)
	}
	if n := strings.Count(r.log.String(), `level=WARN msg="classic clients are refused: all upstreams are MTProxies that take dd and ee clients only" user=one`); c.refused != (n == 1) {
		failed("%d warnings of refused clients", n)
	}
	if !c.refused { // dd clients are served in any case
		return errors.Join(errs...)
	}
	if err := r.echoes(t, mtwiretest.PaddedSecret, ""); err != nil {
		failed("a dd client: %v", err)
	}
	return errors.Join(errs...)
}

// echoes connects a client, which must be answered or ended in time.
func (r *running) echoes(t *testing.T, secret, query string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := mtwire.Dial(ctx, "tcp://"+r.Addresses()[0].String()+"?secret="+secret+query, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err = conn.Send(ctx, make([]byte, 72)); err == nil {
		_, err = conn.Receive(ctx)
	}
	var answer *mtwire.TransportError // such as that the key is unknown
	if errors.As(err, &answer) {
		return nil
	}
	if ctx.Err() != nil {
		t.Error("the client is neither answered nor ended")
	}
	return err
}

// At the start, a warning names an MTProxy upstream that has another secret, of each
// mode, also if another upstream serves all clients.
func TestUpstreamWithAnotherSecretIsNamedAtTheStart(t *testing.T) {
	const other = "11111111111111111111111111111111"
	next := run(t, withSecret(t, mtwiretest.PlainSecret))
	for _, secret := range []string{other, "dd" + other, "ee" + other + "6578616d706c652e636f6d"} {
		for _, beside := range []bool{false, true} {
			link := next.linkTo(t, secret)
			if err := loopback.Undisturbed(answerTime/2, func() error {
				r := run(t, func(config *Config) {
					withSecret(t, mtwiretest.PlainSecret)(config)
					if config.Upstreams = []proxy.Upstream{link}; beside {
						config.Upstreams = append(config.Upstreams, proxy.Upstream{})
					}
				})
				want := `level=WARN msg="the upstream takes connections and answers none: check the secret in its link" upstream="` + link.String() + `" cause="127.0.0.1:`
				if log := r.awaitProbes(t); strings.Count(log, want) != 1 || strings.Contains(log, other) {
					return fmt.Errorf("%s\nwant %s", log, want)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
	}
}
