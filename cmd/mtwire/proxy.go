package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
	"github.com/spf13/cobra"
)

// proxyFlags are the flags of mtwire proxy.
type proxyFlags struct {
	listen, trust              []string
	secrets                    []string
	state, domain, modes       string
	dcs, upstreams, fronts     []string
	defaultDC                  int16
	family                     datacenter.Family
	fastMode                   bool
	dialTimeout, stall, drain  time.Duration
	clock                      time.Duration
	server                     string
	port                       uint16
	qr, json, clients, verbose bool
}

func proxyCommand() *cobra.Command {
	f := &proxyFlags{}
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run an MTProxy server",
		Long: `Run an MTProxy server. Without --secret, its first run makes an ee secret and
keeps it in the state directory. The links to give to clients are printed on
standard output, to a terminal also as QR codes; if there are several, each has
its secret's name in front.

A secret with ee in front allows FakeTLS, one with dd also padded obfuscation,
and a bare one also plain obfuscation; --modes switches modes off for all.

Whoever does not know a secret is piped to the site that the secret's domain
names, and sees that site. If the domain really is elsewhere, --front says
where. Without a domain, strangers get silence.

On SIGTERM the proxy takes no more connections, closes each as it falls silent,
and ends with the last of them, or after --drain. A second signal ends it at
once.`,
		Example: `  mtwire proxy
  mtwire proxy --listen :443 --domain www.example.org
  mtwire proxy --listen 127.0.0.1:3128 --secret alice=dd0123456789abcdef0123456789abcdef
  mtwire proxy --dc 2=127.0.0.1:7443 --dc -2=127.0.0.1:7444 --dc '*=127.0.0.1:7443'
  mtwire proxy --upstream 'socks5://user:password@10.0.0.1:1080?weight=3' --upstream direct`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.define(cmd)
	return cmd
}

func (f *proxyFlags) define(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.listen, "listen", []string{":8443"}, "where to listen: :PORT, HOST:PORT or unix:/PATH (repeatable)")
	flags.StringArrayVar(&f.trust, "proxy-protocol-from", nil, "load balancer whose PROXY protocol headers are believed: ADDRESS, NETWORK/BITS or unix (repeatable)")
	flags.StringArrayVar(&f.secrets, "secret", nil, "SECRET or NAME=SECRET, in hex or base64 (repeatable)")
	flags.StringVar(&f.state, "state", "", "directory for the secret made by the first run (default: $STATE_DIRECTORY, $XDG_STATE_HOME/mtwire or ~/.local/state/mtwire)")
	flags.StringVar(&f.domain, "domain", "", "site that the secret made by the first run seems to be (default: "+defaultDomain+")")
	flags.StringVar(&f.modes, "modes", mtproxy.AllModes.String(), "modes that are taken at all")
	flags.DurationVar(&f.clock, "clock-window", 2*time.Minute, "how far the clock of an ee client may be off; 0: any time")
	flags.StringArrayVar(&f.fronts, "front", nil, "where strangers are piped: HOST:PORT, or DOMAIN=HOST:PORT for one domain (repeatable; default: the domain, port 443)")
	flags.StringArrayVar(&f.dcs, "dc", nil, "where a data centre is, as ID=HOST:PORT, '*' for all not named; several for one ID are tried in turn (repeatable)")
	flags.Int16Var(&f.defaultDC, "default-dc", 0, "data centre for clients that ask for an unknown one (default: they are refused)")
	flags.TextVar(&f.family, "ip", datacenter.PreferIPv4, "addresses of data centres: prefer-ipv4, prefer-ipv6, only-ipv4 or only-ipv6")
	flags.StringArrayVar(&f.upstreams, "upstream", nil, "upstream for data centres: direct, socks5://, http:// or https:// URL, link of another MTProxy; with ?weight=N (repeatable)")
	flags.BoolVar(&f.fastMode, "fast-mode", true, "share the client's download key stream with the data centre; false re-encrypts the download, so that the bytes on both sides of the proxy are unrelated, and costs CPU")
	flags.DurationVar(&f.dialTimeout, "dial-timeout", 5*time.Second, "limit for one attempt to reach a data centre")
	flags.DurationVar(&f.stall, "stall", proxy.DefaultStallTimeout, "how long a data centre may owe an answer until that is logged; 0: never")
	flags.DurationVar(&f.drain, "drain", 30*time.Second, "limit for ending after SIGTERM")
	flags.StringVar(&f.server, "server", "", "name or address for the links (default: the address listened on, or one of this machine's)")
	flags.Uint16Var(&f.port, "port", 0, "port for the links (default: the one listened on)")
	flags.BoolVar(&f.qr, "qr", false, "print QR codes, even if this is no terminal")
	flags.BoolVar(&f.json, "log-json", false, "log lines of JSON")
	flags.BoolVar(&f.clients, "log-clients", false, "log the clients' addresses")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "also log each time what else is logged once a minute")
}

func (f *proxyFlags) run(cmd *cobra.Command) error {
	if flag := cmd.Flag("domain"); flag.Changed && f.domain == "" {
		return errors.New("--domain is empty")
	}
	log := f.logger(cmd.ErrOrStderr())
	config, err := f.config(log)
	if err != nil {
		return err
	}
	p, err := proxy.New(config)
	if err != nil {
		return err
	}
	listeners, err := listenAll(cmd.Context(), f.listen)
	if err != nil {
		return err
	}
	for _, ln := range listeners {
		printStatus(cmd, "listening on %v", ln.Addr())
	}
	if err := f.printLinks(cmd.OutOrStdout(), listeners, config.Users); err != nil {
		for _, ln := range listeners {
			ln.Close()
		}
		return err
	}
	return serve(cmd.Context(), p, listeners, f.drain, log)
}

// serve runs the proxy until it fails, or until ctx ends, which the first
// signal does. Then it drains, until drain is over or a second signal comes.
func serve(ctx context.Context, p *proxy.Proxy, listeners []net.Listener, drain time.Duration, log *slog.Logger) error {
	served := make(chan error, len(listeners))
	for _, ln := range listeners {
		go func() { served <- p.Serve(context.WithoutCancel(ctx), ln) }()
	}
	select {
	case err := <-served:
		p.Close()
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	again, stop := signal.NotifyContext(limit, os.Interrupt, syscall.SIGTERM)
	defer stop()
	open := p.Stats().Open
	log.Info("stopping", "open", open)
	if err := p.Shutdown(again); err != nil && open > 0 {
		log.Info("stopped before all connections had ended")
	}
	for range listeners {
		if err := <-served; !errors.Is(err, proxy.ErrStopped) {
			return err
		}
	}
	return nil
}

func (f *proxyFlags) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if f.verbose {
		options.Level = slog.LevelDebug
	}
	if f.json {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func (f *proxyFlags) config(log *slog.Logger) (config proxy.Config, err error) {
	config = proxy.Config{
		ClockWindow:     f.clock,
		DefaultDC:       datacenter.DC(f.defaultDC),
		Family:          f.family,
		DisableFastMode: !f.fastMode,
		DialTimeout:     f.dialTimeout,
		StallTimeout:    f.stall,
		Log:             log,
		LogClients:      f.clients,
	}
	var trust proxyprotocol.Trust
	for _, text := range f.trust {
		if err := trust.Add(text); err != nil {
			return config, fmt.Errorf("--proxy-protocol-from: %w", err)
		}
	}
	config.TrustedProxies, config.TrustUnixSockets = trust.Networks, trust.Unix
	if config.Modes, err = mtproxy.ParseModes(f.modes); err != nil {
		return config, fmt.Errorf("--modes: %w", err)
	}
	if f.stall <= 0 {
		config.StallTimeout = -1
	}
	if f.clock <= 0 {
		config.ClockWindow = -1
	}
	if f.dialTimeout <= 0 || f.drain < 0 {
		return config, errors.New("want a --dial-timeout of more than nothing, and a --drain of nothing or more")
	}
	if config.DataCenters, err = parseDCs(f.dcs); err != nil {
		return config, err
	}
	if config.Upstreams, err = parseUpstreams(f.upstreams); err != nil {
		return config, err
	}
	if config.Fronts, err = parseFronts(f.fronts); err != nil {
		return config, err
	}
	config.Users, err = f.users(log)
	return config, err
}

// users are those of the --secret flags, or who has the secret of the state
// directory.
func (f *proxyFlags) users(log *slog.Logger) (users []proxy.User, err error) {
	if len(f.secrets) > 0 {
		if f.state != "" {
			return nil, errors.New("--state is for the secret that the first run makes; with --secret nothing is kept")
		}
		if f.domain != "" {
			return nil, errors.New("--domain is for the secret that the first run makes; in --secret the domain is a part of the secret")
		}
		named, err := parseNamedSecrets(f.secrets)
		for _, n := range named {
			users = append(users, proxy.User{Name: n.name, Secrets: []mtproxy.Secret{n.secret}})
		}
		return users, err
	}
	dir, err := stateDirectory(f.state)
	if err != nil {
		return nil, err
	}
	secret, made, err := loadOrMakeSecret(dir, f.domain, log)
	if err != nil {
		return nil, err
	}
	if made {
		log.Info("made a secret", "kept_in", dir, "domain", secret.Domain)
	}
	return []proxy.User{{Name: "1", Secrets: []mtproxy.Secret{secret}}}, nil
}

// parseDCs reads ID=HOST:PORT. The ID is signed, or "*" for all others, which
// the proxy knows as 0.
func parseDCs(texts []string) (map[datacenter.DC][]string, error) {
	dcs := make(map[datacenter.DC][]string)
	for _, text := range texts {
		id, address, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("--dc %q: want ID=HOST:PORT", text)
		}
		dc := datacenter.DC(0)
		if id != "*" {
			var err error
			if dc, err = datacenter.ParseDC(id); err != nil {
				return nil, fmt.Errorf("--dc %q: %w", text, err)
			}
			if dc == 0 {
				return nil, fmt.Errorf("--dc %q: no data centre has number 0; '*' stands for all", text)
			}
		}
		if err := checkAddress(address); err != nil {
			return nil, fmt.Errorf("--dc %q: %w", text, err)
		}
		dcs[dc] = append(dcs[dc], address)
	}
	return dcs, nil
}

// parseUpstreams parses the --upstream flags. Errors name the flag's position, for
// its text may contain a password.
func parseUpstreams(texts []string) (upstreams []proxy.Upstream, err error) {
	for i, text := range texts {
		upstream, err := proxy.ParseUpstream(text)
		if err != nil {
			return nil, fmt.Errorf("upstream %d: %w", i+1, err)
		}
		upstreams = append(upstreams, upstream)
	}
	return upstreams, nil
}

// parseFronts reads HOST:PORT, for all domains, and DOMAIN=HOST:PORT.
func parseFronts(texts []string) (map[string]string, error) {
	fronts := make(map[string]string)
	for _, text := range texts {
		domain, address, ok := strings.Cut(text, "=")
		if !ok {
			domain, address = "", text
		}
		if err := checkAddress(address); err != nil {
			return nil, fmt.Errorf("--front %q: %w", text, err)
		}
		domain = strings.ToLower(domain)
		if _, ok := fronts[domain]; ok {
			return nil, fmt.Errorf("--front %q: there is one already for the same", text)
		}
		fronts[domain] = address
	}
	return fronts, nil
}

// checkAddress checks host:port.
func checkAddress(address string) error {
	host, text, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Errorf("address %q: want HOST:PORT", address)
	}
	if n, err := strconv.ParseUint(text, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %q: port is not between 1 and 65535", address)
	}
	return nil
}

// printLinks prints each user's link, for the first listener that clients can
// reach, and its QR code.
func (f *proxyFlags) printLinks(w io.Writer, listeners []net.Listener, users []proxy.User) error {
	server, port, err := f.reachable(listeners)
	if err != nil {
		return err
	}
	var links []namedLink
	for _, user := range users {
		link := mtproxy.Link{Server: server, Port: port, Secret: user.Secrets[0]}
		if _, err := mtproxy.ParseLink(link.String()); err != nil {
			return fmt.Errorf("--server: it makes no link: %w", err)
		}
		links = append(links, namedLink{user.Name, link})
	}
	return printLinks(w, links, qrCodes(f.qr))
}

// reachable is the name and the port for the links. The listeners are those of
// f.listen.
func (f *proxyFlags) reachable(listeners []net.Listener) (server string, port uint16, err error) {
	server, port = f.server, f.port
	for i, ln := range listeners {
		address, err := netip.ParseAddrPort(ln.Addr().String())
		if err != nil {
			continue // a Unix socket
		}
		if port == 0 {
			port = address.Port()
		}
		if server == "" {
			server = address.Addr().String()
			if address.Addr().IsUnspecified() {
				host, _, _ := net.SplitHostPort(f.listen[i])
				server = ownAddress(tcpNetwork(host))
			}
		}
	}
	if server == "" || port == 0 {
		return "", 0, errors.New("no link can be made for a Unix socket alone: name what clients connect to with --server and --port")
	}
	return server, port, nil
}

// ownAddress is an address of this machine that others may reach, or else
// loopback: for a link, when listening on all addresses that network, tcp, tcp4
// or tcp6, stands for, and not told a name.
func ownAddress(network string) string {
	addresses, _ := net.InterfaceAddrs()
	own := map[bool]string{} // by whether it is IPv4, the first
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		ip := prefix.Addr()
		if _, found := own[ip.Is4()]; err == nil && ip.IsGlobalUnicast() && !found {
			own[ip.Is4()] = ip.String()
		}
	}
	switch network {
	case "tcp4":
		return cmp.Or(own[true], "127.0.0.1")
	case "tcp6":
		return cmp.Or(own[false], "::1")
	}
	return cmp.Or(own[true], own[false], "127.0.0.1")
}
