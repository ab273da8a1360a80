package service

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
)

// testConfig returns the defaults with a secret and a loopback address.
func testConfig(t testing.TB) Config {
	config := Default()
	config.Listen = []ListenAddress{{"tcp4", "127.0.0.1:0"}}
	config.Secrets = []NamedSecret{{"alice", secretOf(t, mtwiretest.PlainSecret)}}
	config.Admin = []AdminAddress{{Network: adminOff}} // several proxies have one state directory
	return config
}

// The defaults, with a secret, are those of package proxy.
func TestDefaultIsTheDefaultOfTheProxy(t *testing.T) {
	config := Default()
	if err := config.check(); err != nil {
		t.Error(err)
	}
	if config.DialTimeout != 5*time.Second || config.StallTimeout != proxy.DefaultStallTimeout || config.ClockWindow != 2*time.Minute {
		t.Errorf("%+v", config)
	}
	got, err := config.proxyConfig()
	if err != nil || got.Modes != mtproxy.AllModes || got.DisableFastMode || got.LogClients {
		t.Errorf("%+v, %v", got, err)
	}
}

// An error of one setting names it.
func TestErrorsNameTheSetting(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"dial-timeout: must be positive":                         func(c *Config) { c.DialTimeout = 0 },
		"max-unauthenticated: must not be negative":              func(c *Config) { c.MaxUnauthenticated = -1 },
		"max-fronted: must not be negative":                      func(c *Config) { c.MaxFronted = -1 },
		"max-fronted: must not be more than max-unauthenticated": func(c *Config) { c.MaxUnauthenticated, c.MaxFronted = 10, 11 },
		"keep-alive: must not be negative":                       func(c *Config) { c.KeepAlive = -1 },
		"peer-timeout: must not be negative":                     func(c *Config) { c.PeerTimeout = -1 },
		"drain: must not be negative":                            func(c *Config) { c.Drain = -1 },
		"listen: no address":                                     func(c *Config) { c.Listen = nil },
		"listen: 127.0.0.1:0 is given twice":                     func(c *Config) { c.Listen = append(c.Listen, c.Listen...) },
		"public: no link can be made for a Unix socket alone":    func(c *Config) { c.Listen = []ListenAddress{{"unix", "/s"}}; c.Public.Port = 443 },
		"front: www.example.com=127.0.0.1:1 and www.example.com=127.0.0.1:2 ": func(c *Config) {
			c.Fronts = []FrontAddress{unmarshal[FrontAddress](t, "www.example.com=127.0.0.1:1"), unmarshal[FrontAddress](t, "www.example.com=127.0.0.1:2")}
		},
		"default-dc: no data centre has number 77":        func(c *Config) { c.DataCenters, c.DefaultDC = nil, 77 },
		`secret: numbers 1 and 2 are both called "alice"`: func(c *Config) { c.Secrets = append(c.Secrets, c.Secrets...) },
	} {
		config := testConfig(t)
		change(&config)
		s, err := New(config, discard)
		var settingError *ConfigError
		if s != nil || !errors.As(err, &settingError) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// 0 means no limit in Config, and the default in the configuration of the proxy.
func TestZeroDurationsAreNoDefaults(t *testing.T) {
	config := testConfig(t)
	config.ClockWindow, config.StallTimeout = 0, 0
	if got, err := config.proxyConfig(); err != nil || got.ClockWindow >= 0 || got.StallTimeout >= 0 {
		t.Errorf("%v, %v, %v", got.ClockWindow, got.StallTimeout, err)
	}
}

func TestProxyConfigHasTheSettings(t *testing.T) {
	config := testConfig(t)
	config.FastMode = false
	config.MaxUnauthenticated, config.MaxFronted = 20, 10
	config.DefaultDC = 2
	for _, text := range []string{"2=127.0.0.1:1", "*=127.0.0.1:3", "2=127.0.0.1:2"} {
		config.DataCenters = append(config.DataCenters, unmarshal[DataCenterAddress](t, text))
	}
	for _, text := range []string{"127.0.0.1:1?proxy-protocol=2", "Example.com=unix:/run/site.sock"} {
		config.Fronts = append(config.Fronts, unmarshal[FrontAddress](t, text))
	}
	for _, text := range []string{"10.0.0.0/8", "unix", "::1"} {
		config.TrustedPeers = append(config.TrustedPeers, unmarshal[TrustedPeer](t, text))
	}
	got, err := config.proxyConfig()
	if err != nil {
		t.Fatal(err)
	}
	if want := map[datacenter.DC][]string{2: {"127.0.0.1:1", "127.0.0.1:2"}, 0: {"127.0.0.1:3"}}; !reflect.DeepEqual(got.DataCenters, want) {
		t.Errorf("data centres %v, want %v", got.DataCenters, want)
	}
	if want := map[string]proxy.Front{"": {Address: "127.0.0.1:1", ProxyProtocol: proxy.ProxyProtocolV2}, "example.com": {Address: "unix:/run/site.sock"}}; !reflect.DeepEqual(got.Fronts, want) {
		t.Errorf("fronting hosts %v, want %v", got.Fronts, want)
	}
	if !got.TrustUnixSockets || len(got.TrustedProxies) != 2 || got.TrustedProxies[0].String() != "10.0.0.0/8" {
		t.Errorf("trusted: %t, %v", got.TrustUnixSockets, got.TrustedProxies)
	}
	if !got.DisableFastMode || got.DefaultDC != 2 || got.MaxUnauthenticated != 20 || got.MaxFronted != 10 {
		t.Errorf("%+v", got)
	}
}

// A reload can find out whether a change of the configuration is one of users only.
func TestProxyConfigsCanBeCompared(t *testing.T) {
	config, same, other := testConfig(t), testConfig(t), testConfig(t)
	for _, c := range []*Config{&config, &same} {
		c.Upstreams = []proxy.Upstream{unmarshal[proxy.Upstream](t, "socks5://me:hunter2@127.0.0.1:1080")}
	}
	same.Secrets = slices.Concat(same.Secrets, []NamedSecret{{"bob", secretOf(t, mtwiretest.PaddedSecret)}})
	other.Upstreams = []proxy.Upstream{unmarshal[proxy.Upstream](t, "socks5://me:hunter3@127.0.0.1:1080")}
	a, _ := config.proxyConfig()
	b, _ := same.proxyConfig()
	c, _ := other.proxyConfig()
	if !reflect.DeepEqual(a, b) || reflect.DeepEqual(a, c) {
		t.Errorf("%+v\n%+v\n%+v", a, b, c)
	}
}

func TestDomainsAreHostNames(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "the domain is empty",
		"not a domain":           "does not belong in a host name",
		"домен.рф":               "is not ASCII",
		"198.51.100.7":           "an IP address is no domain",
		"[2001:db8::1]:443":      "an IP address is no domain",
		"https://198.51.100.7/":  "an IP address is no domain",
		"www.example.org:443":    "a domain has no port: want www.example.org; ",
		"https://":               "the domain is empty",
		strings.Repeat("a", 183): "at most 182",
	} {
		d := Domain("example.com")
		if err := d.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || d != "example.com" {
			t.Errorf("%q: %v, %q", text, err, d)
		}
	}
	for _, text := range []string{" www.example.org\n", "www.example.org.", "https://www.example.org", "http://www.example.org/a/b?c"} {
		if d := unmarshal[Domain](t, text); d != "www.example.org" {
			t.Errorf("%q: %q", text, d)
		}
	}
	if d := unmarshal[Domain](t, "xn--d1acufc.example"); d != "xn--d1acufc.example" {
		t.Error(d)
	}
}
