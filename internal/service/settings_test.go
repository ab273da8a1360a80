package service

import (
	"bufio"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Reconfigure puts upstreams, data centres, limits, listeners, the level of the log and
// the rest in force for clients that connect then, and sessions go on.
func TestReconfigureReplacesAllOtherSettings(t *testing.T) {
	other, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	dc := &mtwiretest.DataCenter{Listener: other}
	go dc.Serve(t.Context())
	level, address := &slog.LevelVar{}, freeAddress(t)
	var before Config
	r := run(t, func(c *Config) {
		c.Level = level
		before = *c
	})
	live := r.connect(t)
	<-r.Probed()
	next := before
	next.DataCenters = []DataCenterAddress{{0, other.Addr().String()}}
	next.Listen = []ListenAddress{unmarshal[ListenAddress](t, address)}
	next.MaxUnauthenticated, next.MaxUnauthenticatedRate, next.LogLevel = 123, 45, LogLevel(slog.LevelDebug)
	next.Modes, next.Domain, next.Drain = mtproxy.EE, "b.example", time.Minute
	next.Fronts = []FrontAddress{unmarshal[FrontAddress](t, other.Addr().String())}
	if restart, err := r.Reconfigure(next); err != nil || len(restart) > 0 {
		t.Fatalf("%v, %v", restart, err)
	}
	receive(t, live)
	if l := r.proxy.Limits(); l.Unauthenticated != 123 || r.rates.rate() != 45 || level.Level() != slog.LevelDebug || r.current().Drain != time.Minute {
		t.Errorf("%+v, rate %v, level %v", l, r.rates.rate(), level)
	}
	links := linksOf(r.Service)
	if links[0].Addr() != address || links[0].Secret.Domain != "b.example" {
		t.Errorf("the link is %v", links[0])
	}
	r.connect(t)
	if d := r.proxy.FrontingHosts()["b.example"]; d.Address != other.Addr().String() {
		t.Errorf("%v", r.proxy.FrontingHosts())
	}
	if log := r.log.String(); !strings.Contains(log, "msg=limits max_unauthenticated=123 ") {
		t.Error(log)
	}
	for end := time.Now().Add(30 * time.Second); strings.Count(r.log.String(), `msg="data centres answer"`) < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the new data centres were not tried:\n%s", r.log.String())
		}
	}
	next.LogLevel = before.LogLevel
	level.Set(slog.LevelError) // over the API
	if _, err := r.Reconfigure(next); err != nil || level.Level() != slog.LevelInfo {
		t.Errorf("%v, level %v", err, level)
	}
	level.Set(slog.LevelError)
	if _, err := r.Reconfigure(next); err != nil || level.Level() != slog.LevelError {
		t.Errorf("a key that has not changed replaces the level that was set since: %v, %v", err, level)
	}
}

// If any setting is wrong, all are as they were: also those that were checked before it.
func TestReconfigureChangesNothingIfOneSettingIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free := freeAddress(t)
	var before Config
	r := run(t, func(c *Config) { before = *c })
	live := r.connect(t)
	limits := r.proxy.Limits()
	for name, spoil := range map[string]func(*Config){
		"listen":    func(c *Config) { c.Listen = append(c.Listen, ListenAddress{"tcp", taken.Addr().String()}) },
		"upstreams": func(c *Config) { c.UpstreamsFile = "/nowhere/at/all" },
		"front":     func(c *Config) { c.Fronts = []FrontAddress{{Domain: "a.example"}, {Domain: "a.example"}} },
		"default":   func(c *Config) { c.DataCenters, c.DefaultDC = nil, 77 },
		"domain":    func(c *Config) { c.Domain, c.Modes = "a.example", mtproxy.Classic },
		"users":     func(c *Config) { c.Users = []config.User{{Name: "alice"}} },
		"range":     func(c *Config) { c.KeepAlive = -1 },
	} {
		next := before
		next.Listen = []ListenAddress{{"tcp", free}}
		next.MaxUnauthenticated, next.MaxUnauthenticatedRate, next.Modes = 123, 45, mtproxy.DD
		spoil(&next)
		if _, err := r.Reconfigure(next); err == nil {
			t.Errorf("%s: no error", name)
		}
		if r.proxy.Limits() != limits || r.rates.rate() != 0 || r.current().Modes != before.Modes || !refuses("tcp", free) || len(r.Addresses()) != 1 {
			t.Errorf("%s: something has changed", name)
		}
		receive(t, live)
		r.connect(t)
	}
}

// docs/config.md names the settings that need a restart: those, and no others, are kept
// from the configuration before.
func TestSettingsThatNeedARestartAreDocumented(t *testing.T) {
	file, err := os.Open("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var documented []string
	inside := false
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "## ") {
			inside = line == "## Settings that need a restart"
		}
		if keys, ok := strings.CutPrefix(line, "- "); inside && ok {
			keys, _, _ = strings.Cut(keys, ":")
			for _, key := range strings.Split(keys, ",") {
				documented = append(documented, strings.Trim(key, " `"))
			}
		}
	}
	a, b := Default(), Default()
	b.State, b.ReusePort, b.AdminTokenFile, b.MetricsUsers = "x", true, "x", 1
	b.Admin, b.LogFile, b.LogJSON, b.PrintLinks = []AdminAddress{{}}, "x", true, true
	b.Web, b.WebCert, b.WebKey, b.WebSite, b.WebACMEDirectory, b.WebACMEEmail = "x", "x", "x", "x", "x", "x"
	b.WebCarrier, b.WebListen, b.WebForwardedFrom = 1, []ListenAddress{{}}, []TrustedPeer{{}}
	fixed := config.Different(a.withFixed(&b), a)
	slices.Sort(documented)
	slices.Sort(fixed)
	if !slices.Equal(documented, fixed) {
		t.Errorf("documented: %v\nkept:       %v", documented, fixed)
	}
}
