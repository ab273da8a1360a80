package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// administered is a proxy that is upgraded, with the client of its admin listener.
type administered struct {
	*upgraded
	client *http.Client
}

func startAdministered(t *testing.T, flags ...string) *administered {
	t.Helper()
	return startAdministeredWith(t, nil, flags...)
}

// startAdministeredWith is startAdministered of a command that change changes.
func startAdministeredWith(t *testing.T, change func(*exec.Cmd), flags ...string) *administered {
	t.Helper()
	dir, err := os.MkdirTemp("", "mtwire") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "a.sock")
	return &administered{startUpgraded(t, change, append(flags, "--admin", "unix:"+socket)...), clientOf(socket)}
}

// get returns the body of a page of the admin listener.
func (a *administered) get(t *testing.T, method, path, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := a.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode/100 != 2 {
		t.Fatalf("%s: %s: %v: %s", path, answer.Status, err, text)
	}
	return string(text)
}

// scrape returns the series of /metrics, of which counters has the counters and the parts of
// histograms.
func (a *administered) scrape(t *testing.T) (all, counters map[string]float64) {
	t.Helper()
	return seriesOf(a.get(t, "GET", "/metrics", ""))
}

// seriesOf returns the series of a text of /metrics: see scrape.
func seriesOf(text string) (all, counters map[string]float64) {
	all, counters = make(map[string]float64), make(map[string]float64)
	lines, counting := bufio.NewScanner(strings.NewReader(text)), false
	for lines.Scan() {
		line := lines.Text()
		if kind, ok := strings.CutPrefix(line, "# TYPE "); ok {
			counting = strings.HasPrefix(kind, "mtwire_") && !strings.HasSuffix(kind, " gauge")
		}
		name, text, ok := strings.Cut(line, "} ")
		if !ok {
			name, text, ok = strings.Cut(line, " ")
		} else {
			name += "}"
		}
		value, err := strconv.ParseFloat(text, 64)
		if strings.HasPrefix(line, "#") || !ok || err != nil {
			continue
		}
		if all[name] = value; counting {
			counters[name] = value
		}
	}
	return all, counters
}

// takeOver is upgrade, and does not wait for the end of the former process, which it
// returns.
func (u *upgraded) takeOver(t *testing.T) (former int) {
	t.Helper()
	before := len(u.takeovers(t))
	if err := syscall.Kill(u.current, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a takeover", func() bool { return len(u.takeovers(t)) > before })
	former = u.current
	u.current, _ = strconv.Atoi(u.takeovers(t)[before][1])
	return former
}

// stayingFlags are flags of a proxy half of whose sessions cannot move: each second one has
// an upstream with an ee secret. They are those with an odd number of sessions before.
func stayingFlags(t *testing.T) []string {
	t.Helper()
	upstream := startUpgraded(t, nil, "--admin", "off", "--probe=false")
	host, port, _ := net.SplitHostPort(upstream.address)
	link := "tg://proxy?server=" + host + "&port=" + port + "&secret=" + mtwiretest.FakeTLSSecret
	return []string{"--probe=false", "--upstream", "direct", "--upstream", link}
}

// The counters of the metrics go on over upgrades: none goes back in any scrape, all
// connections and bytes count once, those of sessions that stay in the old process as well,
// and gauges are of the sessions that there are.
func TestUpgradeKeepsCounters(t *testing.T) {
	t.Parallel()
	a := startAdministeredWith(t, patient, stayingFlags(t)...)
	var conns []*mtwire.Conn
	for _, query := range upgradeModes {
		conns = append(conns, a.join(t, query))
	}
	_, before := a.scrape(t)
	ctx, stop := context.WithCancel(t.Context())
	var scraping sync.WaitGroup
	scraping.Go(func() {
		for last := before; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			_, now := a.scrape(t)
			for name, value := range last {
				if now[name] < value {
					t.Errorf("%s goes back from %v to %v", name, value, now[name])
				}
			}
			last = now
		}
	})
	busy := keepBusy(t, conns...) // the former process closes those that are idle
	former := a.takeOver(t)
	if taken := a.takeovers(t)[0]; taken[2] != "2" || taken[3] != "2" {
		t.Errorf("%q, want 2 of 4 sessions to have moved, and 2 to be left", taken)
	}
	packets := busy()
	var sending sync.WaitGroup
	for _, conn := range conns { // of which half are in the former process
		sending.Go(func() {
			if err := echoOnce(conn, 100_000); err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
	conns = append(conns, a.join(t, upgradeModes[0]))
	for _, conn := range conns {
		conn.Close()
	}
	eventually(t, "the end of the former process", func() bool { return syscall.Kill(former, 0) != nil || isZombie(former) })
	stop()
	scraping.Wait()
	want := map[string]float64{
		"mtwire_connections_accepted_total": 5, "mtwire_connections_authenticated_total": 5,
		"mtwire_connections_closed_total": 5, "mtwire_relaying_connections": 0,
		"mtwire_dial_duration_seconds_count": 5, "mtwire_first_answer_duration_seconds_count": 5,
	}
	var sums map[string]float64
	eventually(t, "the ends of all sessions", func() bool {
		all, _ := a.scrape(t)
		sums = make(map[string]float64) // over all labels
		for name, value := range all {
			name, _, _ = strings.Cut(name, "{")
			sums[name] += value
		}
		return sums["mtwire_connections_closed_total"] >= 5
	})
	for name, want := range want {
		if sums[name] != want {
			t.Errorf("%s is %v, want %v", name, sums[name], want)
		}
	}
	// Each way 5 messages of 64 bytes and 4 of 100,000, with headers and padding.
	if got := sums["mtwire_bytes_total"]; got < 800_000 || got > 806_000+float64(packets)*busyBytes {
		t.Errorf("%v bytes, want 800,000 and those of %d packets", got, packets)
	}
}

// What was set and found out at run time is the new process's too.
func TestUpgradeKeepsWhatWasFoundOut(t *testing.T) {
	t.Parallel()
	silent, err := loopback.FreeAddress() // where no data centre is
	if err != nil {
		t.Fatal(err)
	}
	a := startAdministered(t, "--dc", "5="+silent, "--probe=false")
	a.join(t, upgradeModes[0])
	if conn, err := mtwire.Dial(t.Context(), "tcp://"+a.address+"?dc=5&secret="+mtwiretest.PlainSecret, nil); err == nil {
		if echoWithin(conn, 100, 5*time.Second) == nil {
			t.Error("an answer from a data centre that is not there")
		}
		conn.Close()
	}
	a.get(t, "PUT", "/v1/log-level", `{"level":"debug"}`)
	a.get(t, "POST", "/v1/lists/block", `{"networks":["192.0.2.0/24"]}`)
	var before map[string]float64
	eventually(t, "the failure of a data centre", func() bool {
		before, _ = a.scrape(t)
		up, there := before[`mtwire_data_center_up{dc="5"}`]
		return there && up == 0
	})
	for range 2 {
		a.upgrade(t)
		after, _ := a.scrape(t)
		for _, name := range []string{`mtwire_data_center_up{dc="2"}`, `mtwire_data_center_up{dc="5"}`, `mtwire_upstream_up{upstream="direct"}`} {
			if got, there := after[name]; got != before[name] || !there {
				t.Errorf("%s was %v, and is %v, %v", name, before[name], got, there)
			}
		}
		// Times are passed on as ages, so each upgrade adds what a message takes to arrive.
		name := `mtwire_data_center_last_byte_timestamp_seconds{dc="2"}`
		if d := after[name] - before[name]; d < -1 || d > 20 {
			t.Errorf("%s was %v, and is %v", name, before[name], after[name])
		}
		if text := a.get(t, "GET", "/v1/log-level", ""); !strings.Contains(text, `"debug"`) {
			t.Errorf("the level of the log is %s", text)
		}
		if text := a.get(t, "GET", "/v1/lists/block", ""); !strings.Contains(text, "192.0.2.0/24") {
			t.Errorf("the networks that are blocked are %s", text)
		}
	}
}
