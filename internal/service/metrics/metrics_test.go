package metrics

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
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
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// testbed is a proxy with metrics, on loopback.
type testbed struct {
	*Metrics
	proxy   *proxy.Proxy
	address string
}

// start starts a proxy whose data centres are at an address, or at a loopback one.
func start(t *testing.T, metrics Config, change func(*proxy.Config)) *testbed {
	t.Helper()
	dc, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	go (&mtwiretest.DataCenter{Listener: dc}).Serve(t.Context())
	m := New(metrics)
	config := proxy.Config{
		DataCenters: map[datacenter.DC][]string{0: {dc.Addr().String()}},
		Traces:      []*proxy.Trace{m.Trace()},
		Log:         slog.New(slog.DiscardHandler),
	}
	for name, text := range map[string]string{"alice": mtwiretest.PlainSecret, "bob": "dd0123456789abcdef0123456789abcde0"} {
		secret, err := mtproxy.ParseSecret(text)
		if err != nil {
			t.Fatal(err)
		}
		config.Users = append(config.Users, proxy.User{Name: name, Secrets: []mtproxy.Secret{secret}})
	}
	if change != nil {
		change(&config)
	}
	p, err := proxy.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	m.Watch(p)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go p.Serve(context.Background(), ln)
	return &testbed{m, p, ln.Addr().String()}
}

// ask has a client get an answer from a data centre, and returns its connection.
func (b *testbed) ask(t *testing.T, secret, dc string) *mtwire.Conn {
	t.Helper()
	conn, err := mtwire.Dial(t.Context(), "tcp://"+b.address+"?secret="+secret+"&dc="+dc, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.Send(t.Context(), mtwiretest.AppendReqPQ(nil, [16]byte{1}, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return conn
}

// scrape returns the lines of the exposition by what is in front of their value.
func (b *testbed) scrape(t *testing.T) map[string]string {
	t.Helper()
	answer := httptest.NewRecorder()
	b.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != 200 {
		t.Fatalf("%d: %s", answer.Code, answer.Body)
	}
	values := make(map[string]string)
	for line := range strings.Lines(answer.Body.String()) {
		if series, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && series != "#" {
			values[series] = value
		}
	}
	return values
}

// expect waits until the series have these values.
func (b *testbed) expect(t *testing.T, want map[string]string) {
	t.Helper()
	var values map[string]string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		values = b.scrape(t)
		missing := false
		for series, value := range want {
			missing = missing || values[series] != value
		}
		if !missing {
			return
		}
	}
	for series, value := range want {
		if values[series] != value {
			t.Errorf("%s is %q, want %s", series, values[series], value)
		}
	}
}

const bobSecret = "dd0123456789abcdef0123456789abcde0"

// Connections count by mode, data centre and outcome, bytes by user, open ones
// included, and times by data centre and upstream.
func TestConnectionsAreCounted(t *testing.T) {
	b := start(t, Config{}, nil)
	first := b.ask(t, mtwiretest.PlainSecret, "2")
	b.ask(t, bobSecret, "-4").Close()
	b.expect(t, map[string]string{
		`mtwire_connections_accepted_total`:                                             "2",
		`mtwire_connections_authenticated_total`:                                        "2",
		`mtwire_connections{stage="first_byte_down"}`:                                   "1",
		`mtwire_connections_closed_total{dc="-4",mode="dd",outcome="answered"}`:         "1",
		`mtwire_user_connections{user="alice"}`:                                         "1",
		`mtwire_user_connections{user="bob"}`:                                           "0",
		`mtwire_user_connections_total{user="bob"}`:                                     "1",
		`mtwire_dial_duration_seconds_count{dc="2",upstream="direct"}`:                  "1",
		`mtwire_first_answer_duration_seconds_count{dc="-4",upstream="direct"}`:         "1",
		`mtwire_data_center_up{dc="2"}`:                                                 "1",
		`mtwire_upstream_up{upstream="direct"}`:                                         "1",
		`mtwire_users`:                                                                  "2",
		`mtwire_handshake_failures_total{cause="no_secret"}`:                            "0",
		`mtwire_connections_closed_total{dc="unknown",mode="unknown",outcome="silent"}`: "0",
	})
	values := b.scrape(t)
	if up := values[`mtwire_user_bytes_total{direction="upload",user="alice"}`]; up == "" || up == "0" {
		t.Errorf("alice has sent %q bytes", up)
	}
	first.Close()
	b.expect(t, map[string]string{`mtwire_connections{stage="first_byte_down"}`: "0"})
	after := b.scrape(t)
	for _, direction := range []string{"upload", "download"} {
		series := `mtwire_user_bytes_total{direction="` + direction + `",user="alice"}`
		if after[series] != values[series] {
			t.Errorf("%s: %s while open, %s afterwards", series, values[series], after[series])
		}
	}
}

var errQuota = errors.New("the quota is used up")

type refusing struct{}

func (refusing) Admit(_ context.Context, s proxy.Session) (proxy.Account, error) {
	if s.User().Name == "alice" {
		return nil, errQuota
	}
	return nil, errors.New("no")
}

// Clients that are not served count by the cause.
func TestFailuresAreCountedByCause(t *testing.T) {
	b := start(t, Config{RefusalCause: func(err error) string {
		if err == errQuota {
			return "quota"
		}
		return ""
	}}, func(c *proxy.Config) { c.Policy = refusing{} })
	for _, secret := range []string{mtwiretest.PlainSecret, bobSecret, bobSecret, "ffffffffffffffffffffffffffffffff"} {
		conn, err := mtwire.Dial(t.Context(), "tcp://"+b.address+"?secret="+secret, nil)
		if err != nil {
			t.Fatal(err)
		}
		conn.Send(t.Context(), mtwiretest.AppendReqPQ(nil, [16]byte{1}, nil))
		conn.Close()
	}
	silent, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	silent.Close()
	b.expect(t, map[string]string{
		`mtwire_refusals_total{cause="quota"}`:                                                   "1",
		`mtwire_refusals_total{cause="policy"}`:                                                  "2",
		`mtwire_handshake_failures_total{cause="no_secret"}`:                                     "1",
		`mtwire_connections_closed_total{dc="unknown",mode="unknown",outcome="silent"}`:          "1",
		`mtwire_connections_closed_total{dc="unknown",mode="unknown",outcome="unauthenticated"}`: "1",
	})
}

// An attempt to connect that fails counts by data centre, upstream and cause.
func TestFailedAttemptsAreCounted(t *testing.T) {
	dead, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, Config{}, func(c *proxy.Config) {
		c.DataCenters = map[datacenter.DC][]string{0: {dead}}
	})
	conn, err := mtwire.Dial(t.Context(), "tcp://"+b.address+"?dc=3&secret="+bobSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Send(t.Context(), mtwiretest.AppendReqPQ(nil, [16]byte{1}, nil))
	if _, err := conn.Receive(t.Context()); err == nil {
		t.Error("a data centre answers")
	}
	b.expect(t, map[string]string{
		`mtwire_dial_errors_total{cause="refused",dc="3",upstream="direct"}`:      "1",
		`mtwire_connections_closed_total{dc="3",mode="dd",outcome="unreachable"}`: "1",
		`mtwire_data_center_up{dc="3"}`:                                           "0",
		`mtwire_user_connections_total{user="bob"}`:                               "1",
	})
}

// Data centres that clients ask for are limited in number; the main ones have their
// series all the same.
func TestDataCentersAreLimited(t *testing.T) {
	b := start(t, Config{}, nil)
	for dc := datacenter.DC(100); dc < 1000; dc++ {
		b.traced.countClosed(nil, proxy.Report{Stage: proxy.FirstByteDown, Mode: mtproxy.DD, DC: dc})
		b.traced.countAttempt(proxy.Attempt{DC: dc, Upstream: "direct"})
	}
	b.traced.countClosed(nil, proxy.Report{Stage: proxy.FirstByteDown, Mode: mtproxy.DD, DC: 5})
	values := b.scrape(t)
	closed := 0
	for series := range values {
		if strings.HasPrefix(series, "mtwire_connections_closed_total") {
			closed++
		}
	}
	if closed > maxLabels+10 || values[`mtwire_connections_closed_total{dc="5",mode="dd",outcome="answered"}`] != "1" ||
		values[`mtwire_connections_closed_total{dc="other",mode="dd",outcome="answered"}`] == "" {
		t.Errorf("%d series", closed)
	}
}

// Users beyond the limit are summed.
func TestUsersBeyondTheLimitAreSummed(t *testing.T) {
	b := start(t, Config{MaxUsers: 1}, nil)
	b.ask(t, mtwiretest.PlainSecret, "2")
	b.ask(t, bobSecret, "2")
	b.expect(t, map[string]string{
		`mtwire_user_connections{user="alice"}`:         "1",
		`mtwire_user_connections{user="bob"}`:           "",
		`mtwire_user_connections_total{user="_others"}`: "1",
	})
}

// The names and the help texts follow Prometheus' conventions.
func TestNamesFollowTheConventions(t *testing.T) {
	b := start(t, Config{Version: "v1"}, nil)
	b.everySeries()
	problems, err := testutil.GatherAndLint(b.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// everySeries gives each metric that needs a label a series.
func (b *testbed) everySeries() {
	t := b.traced
	t.countRefused(nil, errors.New("no"))
	t.countAttempt(proxy.Attempt{Upstream: "direct"})
	t.countAttempt(proxy.Attempt{Upstream: "direct", Err: io.EOF})
	hooks := t.trace()
	hooks.Answered(nil, proxy.Answer{DC: 2, Upstream: "direct", Waited: 1})
	hooks.TransportError(nil, 404)
	hooks.AcceptDelayed(nil, nil)
	t.unanswered.WithLabelValues("2", "direct")
	t.stalls.WithLabelValues("2", "direct")
	b.Reloaded(nil)
	b.Reloaded(errors.New("no"))
}

// docs/metrics.md has every metric with its labels, and no other.
func TestEveryMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(mtwire_[a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = row[2] + " " + strings.Join(regexp.MustCompile("`[a-z]+`").FindAllString(row[3], -1), " ")
	}
	b := start(t, Config{Version: "v1", Store: func() (time.Time, bool, bool) { return time.Now(), false, true }}, nil)
	b.everySeries()
	b.ask(t, bobSecret, "2")
	b.expect(t, map[string]string{`mtwire_user_connections{user="bob"}`: "1"})
	const heard = `mtwire_data_center_last_byte_timestamp_seconds{dc="2"}` // which the client may be ahead of
	for end := time.Now().Add(30 * time.Second); b.scrape(t)[heard] == "" && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	families, err := b.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	exported := make(map[string]bool)
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "mtwire_") {
			continue
		}
		exported[f.GetName()] = true
		text := strings.ToLower(f.GetType().String())
		var labels []string
		for _, label := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+label.GetName()+"`")
		}
		if text += " " + strings.Join(labels, " "); documented[f.GetName()] != text {
			t.Errorf("docs/metrics.md has %q for %s, which is %q", documented[f.GetName()], f.GetName(), text)
		}
	}
	for name := range documented {
		if !exported[name] {
			t.Errorf("docs/metrics.md has %s, which is not exported", name)
		}
	}
}
