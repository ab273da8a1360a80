// Package prometheus tests the metrics of mtwire proxy with Prometheus and promtool, if
// they are installed. ./install installs them.
package prometheus

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/interop/process"
	"github.com/mtwire/mtwire/mtwiretest"
)

const (
	token     = "000102030405060708090a0b0c0d0e0f"
	bobSecret = "dd0123456789abcdef0123456789abcde0"

	// patience bounds the time until Prometheus answers, or has scraped a value.
	patience = time.Minute
)

// proxy is mtwire proxy with an admin listener on TCP.
type proxy struct {
	address, admin string
	server         *process.Server
}

func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
}

// startProxy builds and starts a proxy, with a loopback data centre.
func startProxy(t *testing.T) *proxy {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "mtwire")
	if out, err := exec.Command("go", "build", "-C", "../..", "-o", binary, "./cmd/mtwire").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dc := mtwiretest.NewDataCenter(nil)
	t.Cleanup(dc.Close)
	t.Setenv("MTWIRE_ADMIN_TOKEN", token)
	server, err := process.StartServer(context.Background(), binary, "proxy", "--listen", "127.0.0.1:0", "--state", dir,
		"--secret", "alice="+mtwiretest.PlainSecret, "--secret", "bob="+bobSecret, "--dc", "*="+dc.Addr().String(),
		"--probe=false", "--admin", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	line := regexp.MustCompile(`msg="admin listener" address=(\S+)`)
	var admin []string
	for end := time.Now().Add(patience); admin == nil; time.Sleep(10 * time.Millisecond) { // the log may be late
		if admin = line.FindStringSubmatch(server.Stderr.Text()); admin == nil && time.Now().After(end) {
			t.Fatal(server.Stderr.Text())
		}
	}
	return &proxy{server.Address, admin[1], server}
}

// connect has a client, the query of an endpoint, send packets and receive the answers.
func (p *proxy) connect(t *testing.T, client string, packets int) *mtwire.Conn {
	t.Helper()
	conn, err := mtwire.Dial(t.Context(), "tcp://"+p.address+"?dc=2&"+client, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	for range packets {
		if err := conn.Send(t.Context(), mtwiretest.AppendReqPQ(nil, [16]byte{1}, nil)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

// load has clients come and go: alice's leave, four of bob's stay, and five have a secret
// that there is not.
func (p *proxy) load(t *testing.T) {
	t.Helper()
	for range 20 {
		p.connect(t, "protocol=intermediate&secret="+mtwiretest.PlainSecret, 3).Close()
	}
	for range 4 {
		p.connect(t, "secret="+bobSecret, 3)
	}
	for range 5 {
		conn, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(bytes.Repeat([]byte{0x55}, 100))
		conn.Close()
	}
}

// documentedConfig returns the configuration of docs/operate.md, for an address and a
// file with the token.
func documentedConfig(t *testing.T, address, tokenFile string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```yaml\n(scrape_configs:.*?)^```$").FindSubmatch(page)
	if block == nil {
		t.Fatal("docs/operate.md has no configuration")
	}
	text := string(block[1])
	for old, replacement := range map[string]string{"127.0.0.1:9100": address, "/etc/prometheus/mtwire-token": tokenFile} {
		if !strings.Contains(text, old) {
			t.Fatalf("%s is not in\n%s", old, text)
		}
		text = strings.Replace(text, old, replacement, 1)
	}
	return text
}

// server is Prometheus.
type server struct{ address string }

// startPrometheus starts Prometheus with a configuration, and waits until it answers.
func startPrometheus(t *testing.T, config string) *server {
	t.Helper()
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{address}
	p, err := process.Start(process.Command(context.Background(), "prometheus", "--config.file", config,
		"--storage.tsdb.path", t.TempDir(), "--web.listen-address", s.address, "--log.level", "warn"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Log(p.Stderr.Text())
		}
	})
	return s
}

// query returns the value of a query that has one.
func (s *server) query(query string) (float64, error) {
	answer, err := http.Get("http://" + s.address + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var result struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(answer.Body).Decode(&result); err != nil || result.Error != "" {
		return 0, fmt.Errorf("%v: %s", err, result.Error)
	}
	if len(result.Data.Result) != 1 {
		return 0, fmt.Errorf("%d results", len(result.Data.Result))
	}
	return strconv.ParseFloat(fmt.Sprint(result.Data.Result[0].Value[1]), 64)
}

// expect waits until a query has that value.
func (s *server) expect(t *testing.T, query string, want func(float64) bool) {
	t.Helper()
	var value float64
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if value, err = s.query(query); err == nil && want(value) {
			return
		}
	}
	t.Errorf("%s: %v, %v", query, value, err)
}

// Prometheus, with the documented configuration and the token, scrapes a proxy that
// serves clients, and its queries have the values of what the clients did.
func TestPrometheusScrapesALoadedProxy(t *testing.T) {
	needs(t, "prometheus", "promtool")
	p := startProxy(t)
	dir := t.TempDir()
	tokenFile, config := filepath.Join(dir, "token"), filepath.Join(dir, "prometheus.yml")
	text := "global: {scrape_interval: 300ms}\n" + documentedConfig(t, p.admin, tokenFile)
	for name, text := range map[string]string{tokenFile: token, config: text} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("promtool", "check", "config", config).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := startPrometheus(t, config)
	s.expect(t, `up{job="mtwire"}`, func(v float64) bool { return v == 1 })
	p.load(t)
	for query, want := range map[string]float64{
		`mtwire_connections_accepted_total`:                                             29,
		`mtwire_connections_authenticated_total`:                                        24,
		`mtwire_connections_closed_total{mode="classic",dc="2",outcome="answered"}`:     20,
		`sum(mtwire_connections_closed_total{outcome="unauthenticated"})`:               5,
		`sum(mtwire_handshake_failures_total)`:                                          5,
		`mtwire_user_connections{user="bob"}`:                                           4,
		`mtwire_user_connections_total{user="alice"}`:                                   20,
		`sum(mtwire_connections)`:                                                       4,
		`mtwire_connections{stage="first_byte_down"}`:                                   4,
		`mtwire_first_answer_duration_seconds_count{dc="2",upstream="direct"}`:          24,
		`mtwire_dial_duration_seconds_bucket{dc="2",upstream="direct",le="+Inf"}`:       24,
		`mtwire_data_center_up{dc="2"}`:                                                 1,
		`mtwire_users`:                                                                  2,
		`mtwire_user_bytes_total{direction="upload",user="alice"}`:                      20 * 3 * 44, // a length and req_pq_multi
		`count(mtwire_build_info)`:                                                      1,
		`mtwire_relaying_connections{job="mtwire"} - on() sum(mtwire_user_connections)`: 0,
	} {
		s.expect(t, query, func(v float64) bool { return v == want })
	}
	for _, query := range []string{
		`mtwire_bytes_total{direction="download"}`, `process_open_fds`, `process_resident_memory_bytes`, `go_goroutines`,
		`histogram_quantile(0.9, sum by (le) (mtwire_first_answer_duration_seconds_bucket))`,
		`time() - mtwire_data_center_last_byte_timestamp_seconds{dc="2"} < 600`,
	} {
		s.expect(t, query, func(v float64) bool { return v > 0 })
	}
	// What docs/metrics.md suggests to watch is valid.
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, watched, _ := strings.Cut(string(page), "## What to watch")
	rows := regexp.MustCompile("(?m)^\\| `(.+)` \\|").FindAllStringSubmatch(watched, -1)
	for _, row := range rows {
		if _, err := s.query(row[1]); err != nil && !strings.Contains(err.Error(), "results") {
			t.Errorf("%s: %v", row[1], err)
		}
	}
	if len(rows) < 5 {
		t.Errorf("only %d queries are suggested", len(rows))
	}
}

// promtool finds no fault in the exposition.
func TestPromtoolChecksTheMetrics(t *testing.T) {
	needs(t, "promtool")
	p := startProxy(t)
	p.load(t)
	request, err := http.NewRequest("GET", "http://"+p.admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != 200 {
		t.Fatal(answer.Status, err)
	}
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = bytes.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
