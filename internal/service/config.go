package service

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/metrics"
	"github.com/mtwire/mtwire/internal/service/upgrade"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
	"github.com/mtwire/mtwire/webproxy"
)

// Config is the configuration of an MTProxy server. Default returns the defaults;
// the zero value is not valid. The comments begin with the name of the setting,
// which ConfigError has and the flags of mtwire proxy have as well; in a configuration
// file it is the key of the field's tag, with underscores for dashes. The tag flag has a flag
// that sets it under another name.
//
// Repeatable settings are slices. Their elements parse themselves, as
// encoding.TextUnmarshaler, and String leaves out keys and passwords.
type Config struct {
	Listen []ListenAddress `toml:"listen" flag:"port"` // listen: addresses to listen on
	// Inherited are listeners that the process was started with, besides Listen: see
	// InheritedListeners. One whose address is also in Listen is used for both.
	Inherited []net.Listener
	// Stored are listeners that systemd has kept since the process before, by their names: see
	// InheritedListeners. New takes them.
	Stored map[string]net.Listener
	// Takeover has the listeners and sessions of a process that this one was started by to
	// take its place: see upgrade.FromEnvironment. Nil is none.
	Takeover *upgrade.Takeover
	// TakeoverSocket is a path at which another process takes over from this one, "" for none:
	// see upgrade.FromSocket. It is no setting of a file.
	TakeoverSocket string
	// ReusePort is reuse-port: listen beside other processes that do so too, and hand
	// over to them at the end.
	ReusePort    bool          `toml:"reuse_port"`
	TrustedPeers []TrustedPeer `toml:"proxy_protocol_from"` // proxy-protocol-from: load balancers

	Secrets     []NamedSecret `toml:"secret"`              // secret: none means the generated one
	SecretsFile string        `toml:"secrets" path:"true"` // secrets: more of them, one on each line
	State       string        `toml:"state" path:"true"`   // state: directory of what outlives a run, "" for the default
	Domain      Domain        `toml:"domain"`              // domain: that of secrets without one, and of the generated one, "" for that of Web, or DefaultDomain
	Modes       mtproxy.Modes `toml:"modes"`               // modes: those that are accepted

	// ClockWindow is clock-window: the largest difference of a FakeTLS client's
	// clock from this machine's. 0 means no limit.
	ClockWindow time.Duration `toml:"clock_window"`

	Fronts      []FrontAddress      `toml:"front"`                                                                         // front: fronting hosts
	DataCenters []DataCenterAddress `toml:"dc"`                                                                            // dc: in the order in which to try them
	DefaultDC   datacenter.DC       `toml:"default_dc" derived:"clients that request an unknown data centre are rejected"` // default-dc: for unknown ones, 0 for none
	Family      datacenter.Family   `toml:"ip"`                                                                            // ip: address family of data centres
	Upstreams   []proxy.Upstream    `toml:"upstream"`                                                                      // upstream: none means direct
	// UpstreamsFile is upstreams: more of them, one on each line.
	UpstreamsFile string `toml:"upstreams" path:"true"`
	FastMode      bool   `toml:"fast_mode"` // fast-mode

	// Limits of unauthenticated connections. 0 means the default of package proxy.
	MaxUnauthenticated int `toml:"max_unauthenticated" derived:"a quarter of the descriptors, at most 16384"`                // max-unauthenticated: of all
	MaxFronted         int `toml:"max_fronted" derived:"an eighth of the descriptors, at most 4096 and max_unauthenticated"` // max-fronted: of those connected to a fronting host
	// MaxUnauthenticatedPerAddress is max-unauthenticated-per-address.
	MaxUnauthenticatedPerAddress int `toml:"max_unauthenticated_per_address" derived:"half of max_unauthenticated"`
	// MaxUnauthenticatedRate is max-unauthenticated-rate: the connections in a second
	// from one address (IPv6 /64) that turn out to be unauthenticated. If there are more,
	// further ones are not searched for a secret. 0 means no limit.
	MaxUnauthenticatedRate float64 `toml:"max_unauthenticated_rate" derived:"no limit"`

	// SearchProcessors is search-processors: the processor time of failed key
	// searches, in processors. 0 means the default of package proxy.
	SearchProcessors float64 `toml:"search_processors" derived:"0.5, or an eighth of all processors"`

	DialTimeout  time.Duration `toml:"dial_timeout"` // dial-timeout: limit of one attempt
	StallTimeout time.Duration `toml:"stall"`        // stall: 0 means that stalls are not logged
	KeepAlive    time.Duration `toml:"keep_alive"`   // keep-alive: 0 means that there are no probes
	PeerTimeout  time.Duration `toml:"peer_timeout"` // peer-timeout: 0 means no limit
	Drain        time.Duration `toml:"drain"`        // drain: limit of a graceful shutdown

	Web     WebHost `toml:"web"`                  // web: host name of the web site, "" for none
	WebPath WebPath `toml:"web_path"`             // web-path: base path of WEB links, "" for none
	WebCert string  `toml:"web_cert" path:"true"` // web-cert: its certificate
	WebKey  string  `toml:"web_key" path:"true"`  // web-key: the certificate's key
	WebSite string  `toml:"web_site" path:"true"` // web-site: what visitors see: see web.NewSite
	// WebCarrier is web-carrier: that of the sessions of WEB clients.
	WebCarrier webproxy.Carrier `toml:"web_carrier"`
	// WebACMEDirectory is web-acme-directory: the ACME server of the certificate, if it is not
	// configured. WebACMEEmail is web-acme-email.
	WebACMEDirectory string `toml:"web_acme_directory" derived:"that of Let's Encrypt, without web_cert"`
	WebACMEEmail     string `toml:"web_acme_email"`
	// WebListen is web-listen: addresses for HTTP from web servers in front, which have the
	// certificate. WebForwardedFrom is web-forwarded-from: those whose X-Forwarded-For counts.
	WebListen        []ListenAddress `toml:"web_listen"`
	WebForwardedFrom []TrustedPeer   `toml:"web_forwarded_from"`

	Public PublicAddress `toml:"public"` // public: that of the links, found if it is not set

	// PrintLinks is print-links: the caller prints the links, also if standard output is
	// not a terminal.
	PrintLinks bool `toml:"print_links"`

	// Admin is admin: listeners for operators. None means a Unix socket, if that can be.
	Admin []AdminAddress `toml:"admin" derived:"unix, if that can be listened on"`
	// AdminTokenFile is admin-token-file: the token of requests over TCP.
	AdminTokenFile string `toml:"admin_token_file" path:"true"`
	MetricsUsers   int    `toml:"metrics_users"` // metrics-users: users with series of their own

	// Watch is watch: the caller reads the configuration file again when it, or a file of
	// Files, has changed.
	Watch bool `toml:"watch"`

	// Position returns where a key is, such as user[3].name, as FILE:LINE:COLUMN for
	// warnings, "" if it is nowhere. Nil means that there is no file. It is no setting.
	Position func(key string) string `json:"-"`

	// Not settings: the program's version, and the level of the log, both for the admin
	// listener. Without Level the level cannot be changed.
	Version string
	Level   *slog.LevelVar
	// Program is how this process was started: an upgrade starts what is at its path by then.
	// Without it there is none.
	Program upgrade.Command `json:"-"`

	LogConnections bool `toml:"log_connections"` // log-connections: log the end of each connection
	Probe          bool `toml:"probe"`           // probe: ask every data centre at the start
	LogClients     bool `toml:"log_clients"`     // log-clients: log the addresses of clients

	// Files with networks: those that clients may connect from, all if there are none,
	// and those that they may not connect from.
	Allow []config.Path `toml:"allow" path:"true"` // allow
	Block []config.Path `toml:"block" path:"true"` // block

	LogFile  string   `toml:"log_file" path:"true"`     // log-file: "" for standard error; the caller opens it
	LogLevel LogLevel `toml:"log_level" flag:"verbose"` // log-level: the least of the lines
	LogJSON  bool     `toml:"log_json"`                 // log-json: lines of JSON

	// Users are user: those of the configuration file, with their limits, besides the
	// users that Secrets stands for.
	Users []config.User `toml:"user"`
}

// Default returns the default configuration.
func Default() Config {
	return Config{
		Listen:       []ListenAddress{{Network: "tcp", Address: ":" + defaultPort}},
		Modes:        mtproxy.AllModes,
		ClockWindow:  2 * time.Minute,
		FastMode:     true,
		DialTimeout:  5 * time.Second,
		StallTimeout: proxy.DefaultStallTimeout,
		KeepAlive:    proxy.DefaultKeepAlive,
		PeerTimeout:  proxy.DefaultPeerTimeout,
		Drain:        30 * time.Second,
		MetricsUsers: metrics.DefaultMaxUsers,

		LogConnections: true,
		Probe:          true,
		Watch:          true,
	}
}

// ConfigError is the error of one setting of a Config: its value is invalid, or the
// machine does not let the service use it.
type ConfigError struct {
	Setting string // such as "dial-timeout"
	Err     error
}

func (e *ConfigError) Error() string { return e.Setting + ": " + e.Err.Error() }

func (e *ConfigError) Unwrap() error { return e.Err }

func configError(setting, format string, args ...any) error {
	return &ConfigError{setting, fmt.Errorf(format, args...)}
}

// check returns the first error of checkAll.
func (c *Config) check() error {
	if wrong := c.checkAll(); len(wrong) > 0 {
		return wrong[0]
	}
	return nil
}

// checkAll returns an error for each setting that contradicts others, or that has no
// type of its own and is out of range.
func (c *Config) checkAll() (wrong []error) {
	fail := func(when bool, setting, text string, value any) {
		if when {
			wrong = append(wrong, configError(setting, "%s, and is %v", text, value))
		}
	}
	const negative = "must not be negative"
	fail(c.DialTimeout <= 0, "dial-timeout", "must be positive", c.DialTimeout)
	fail(c.ClockWindow < 0, "clock-window", negative, c.ClockWindow)
	fail(c.StallTimeout < 0, "stall", negative, c.StallTimeout)
	fail(c.KeepAlive < 0, "keep-alive", negative, c.KeepAlive)
	fail(c.PeerTimeout < 0, "peer-timeout", negative, c.PeerTimeout)
	fail(c.Drain < 0, "drain", negative, c.Drain)
	fail(c.MetricsUsers < 0, "metrics-users", negative, c.MetricsUsers)
	fail(c.MaxUnauthenticated < 0, "max-unauthenticated", negative, c.MaxUnauthenticated)
	fail(c.MaxFronted < 0, "max-fronted", negative, c.MaxFronted)
	const sameConnections = "must not be more than max-unauthenticated, which counts the same connections"
	fail(c.MaxUnauthenticated > 0 && c.MaxFronted > c.MaxUnauthenticated, "max-fronted", sameConnections, c.MaxFronted)
	fail(c.MaxUnauthenticatedPerAddress < 0, "max-unauthenticated-per-address", negative, c.MaxUnauthenticatedPerAddress)
	fail(c.MaxUnauthenticated > 0 && c.MaxUnauthenticatedPerAddress > c.MaxUnauthenticated,
		"max-unauthenticated-per-address", sameConnections, c.MaxUnauthenticatedPerAddress)
	fail(!(c.MaxUnauthenticatedRate >= 0) || c.MaxUnauthenticatedRate > 1e6, "max-unauthenticated-rate",
		"must be from 0 to 1000000 connections a second", c.MaxUnauthenticatedRate)
	fail(!(c.SearchProcessors >= 0) || c.SearchProcessors > 1<<16, // a NaN is neither
		"search-processors", "must be from 0 to 65536 processors", c.SearchProcessors)
	for _, err := range []error{c.checkListen(), c.checkAdmin(), c.checkLinks()} {
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	return append(wrong, c.checkWeb()...)
}

// LogLevel is a slog.Level by its name alone, in lower case.
type LogLevel slog.Level

var logLevels = []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}

// UnmarshalText parses a name. After an error l is unchanged.
func (l *LogLevel) UnmarshalText(text []byte) error {
	for _, level := range logLevels {
		if strings.EqualFold(level.String(), string(text)) {
			*l = LogLevel(level)
			return nil
		}
	}
	return fmt.Errorf("unknown level %q: want debug, info, warn or error", text)
}

// MarshalText returns the name.
func (l LogLevel) MarshalText() ([]byte, error) {
	return []byte(strings.ToLower(slog.Level(l).String())), nil
}

// Domain is the domain that a FakeTLS secret imitates: a host name in ASCII.
type Domain string

// UnmarshalText parses a domain, or the URL of a site in it. After an error d is
// unchanged.
func (d *Domain) UnmarshalText(text []byte) error {
	domain := strings.TrimSpace(string(text))
	if scheme, rest, ok := strings.Cut(domain, "://"); ok && (scheme == "https" || scheme == "http") {
		domain, _, _ = strings.Cut(rest, "/")
	}
	domain = strings.TrimSuffix(domain, ".")
	host, port := splitOptionalPort(domain)
	_, notIP := netip.ParseAddr(host)
	switch {
	case domain == "":
		return errors.New("the domain is empty")
	case notIP == nil:
		return errors.New("an IP address is no domain, and browsers do not send one: want the name of a site; the address in the links is --public")
	case port != "":
		return fmt.Errorf("a domain has no port: want %s; the site's own address is --front", host)
	}
	secret := mtproxy.Secret{Mode: mtproxy.FakeTLS, Domain: domain}
	if _, err := secret.MarshalText(); err != nil {
		return err
	}
	*d = Domain(domain)
	return nil
}

// MarshalText returns the domain.
func (d Domain) MarshalText() ([]byte, error) { return []byte(d), nil }
