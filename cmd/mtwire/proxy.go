package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/internal/hangup"
	"github.com/mtwire/mtwire/internal/logwriter"
	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/upgrade"
	"github.com/spf13/cobra"
)

// proxyFlags are the flags of mtwire proxy.
type proxyFlags struct {
	config service.Config
	file   configFile
	check  bool
	// takeover is the path of a socket. It is no setting of a file: a process takes over before
	// it reads one.
	takeover string
	log      logFlags
	qr       qrFlag
}

func proxyCommand() *cobra.Command {
	f := &proxyFlags{config: service.Default()}
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run an MTProxy server",
		Long: `Run an MTProxy server. Without --secret, the first run generates an ee secret
and keeps it in the state directory. The links for clients are printed on
a terminal, also as QR codes, and with --print-links anywhere. If there are
several, each has the name of its secret in front.

All settings can be in a configuration file, which --config names: each key is
a flag's name with _ for -. A flag overrides the key of its name. Users with
limits are in the file, or added by mtwire user. mtwire config show prints the
settings in force.

Every user of the machine can read its command lines: --secrets FILE keeps
secrets off them, as $MTWIRE_SECRETS and systemd's LoadCredential=secrets:FILE do.

An ee secret allows FakeTLS. A dd secret also allows obfuscation with padding,
and a secret without prefix all modes; --modes restricts them for all secrets.

Unauthenticated clients are tunneled to the site of the secret's domain and see
that site. If the domain does not resolve to the site, use --front. Without a
domain, unauthenticated clients get no answer.

On SIGTERM the proxy stops listening, closes each connection as soon as it is
idle, and exits when none is left, or after --drain. A second signal makes it
exit at once. On SIGHUP it reads the file of --config and the files of secrets,
upstreams and networks again, and opens --log-file again. Connections go on. With
--config it also reads them again when one of them has changed. On Linux, SIGUSR2
starts the program again, which takes over the sockets and the live sessions.`,
		Example: `  mtwire proxy
  mtwire proxy --config mtwire.toml
  mtwire proxy --listen :443 --domain www.example.org --front unix:/run/site.sock
  mtwire proxy --listen 127.0.0.1:3128 --secrets secrets
  mtwire proxy --dc 2=127.0.0.1:7443 --dc -2=127.0.0.1:7444 --dc '*=127.0.0.1:7443'
  mtwire proxy --upstream 'socks5://10.0.0.1:1080?weight=3' --upstream direct
  mtwire proxy --listen 127.0.0.1:1443 --upstream wss`,
		Args:        noArguments,
		Annotations: map[string]string{reloadsAnnotation: ""},
		RunE:        func(cmd *cobra.Command, _ []string) error { return f.file.name(cmd, f.run(cmd)) },
	}
	f.define(cmd)
	cmd.Flags().BoolVar(&f.check, "check", false, "check the configuration, with all files that it names, and exit: code 0 if it is valid, or 1")
	cmd.Flags().StringVar(&f.takeover, "takeover", "", "take over from the proxy that listens on the socket `PATH`, with its sockets and sessions, if there is one, and then listen there for the next")
	return cmd
}

func (f *proxyFlags) define(cmd *cobra.Command) {
	flags, c := cmd.Flags(), &f.config
	flags.SortFlags = false
	flags.StringVar(&f.file.path, "config", "", "configuration `FILE` in TOML; flags override it")
	flags.BoolVar(&c.Watch, "watch", c.Watch, "read the configuration file again when it changes, or a file that it names")
	listen := listVar(flags, &c.Listen, "listen", errorsQuote, "`ADDRESS` to listen on: :PORT, HOST:PORT or unix:/PATH (repeatable)")
	flags.BoolVar(&c.ReusePort, "reuse-port", c.ReusePort, "let other processes with this flag listen on the same addresses, and hand over to them at the end: a restart then refuses no connection")
	flags.Var(portFlag{listen}, "port", "`PORT` to listen on, the same as --listen :PORT (repeatable)")
	listVar(flags, &c.TrustedPeers, "proxy-protocol-from", errorsQuote, "load balancer that sends PROXY protocol headers: `ADDRESS`, NETWORK/BITS or unix (repeatable)")
	listVar(flags, &c.Secrets, "secret", errorsNumbered, "`SECRET` or NAME=SECRET of a user, in hex or base64 (repeatable)")
	flags.StringVar(&c.SecretsFile, "secrets", c.SecretsFile, "`FILE` with a SECRET or NAME=SECRET on each line; # begins a comment (default: $MTWIRE_SECRETS, or systemd's credential named secrets)")
	flags.StringVar(&c.State, "state", c.State, "`DIRECTORY` of the generated secret and of the memory of handshakes (default: "+service.DefaultState(runtime.GOOS)+")")
	flags.TextVar(&c.Domain, "domain", c.Domain, "`DOMAIN` to imitate, of the generated secret and of secrets that have none (default: that of --web, or "+service.DefaultDomain+", if one is needed)")
	flags.TextVar(&c.Modes, "modes", c.Modes, "accepted `MODES`")
	listVar(flags, &c.Allow, "allow", errorsQuote, "`FILE` with the networks that clients may connect from, one on each line (repeatable; default: all)")
	listVar(flags, &c.Block, "block", errorsQuote, "`FILE` with networks that clients may not connect from: they are unauthenticated (repeatable)")
	flags.TextVar(&c.Web, "web", c.Web, "`HOST` name of a web site that is served here, with a WEB proxy (tg://webproxy) in it: needs port 443 and a certificate (default: none)")
	flags.TextVar(&c.WebPath, "web-path", c.WebPath, "base `PATH` of the WEB links: the relay is below https://HOST/PATH/, and the site in the rest (default: none)")
	flags.StringVar(&c.WebCert, "web-cert", c.WebCert, "`FILE` with the certificate chain of the web site; it is read again when it is renewed (default: an ACME server's, kept in the state directory)")
	flags.StringVar(&c.WebKey, "web-key", c.WebKey, "`FILE` with the key of the certificate")
	flags.StringVar(&c.WebACMEDirectory, "web-acme-directory", c.WebACMEDirectory, "`URL` of the directory of the ACME server that the certificate is from, without --web-cert: its use is agreement to the server's terms (default: Let's Encrypt)")
	flags.StringVar(&c.WebACMEEmail, "web-acme-email", c.WebACMEEmail, "e-mail `ADDRESS` of the account at the ACME server (default: none)")
	flags.TextVar(&c.WebCarrier, "web-carrier", c.WebCarrier, "`CARRIER` of WEB clients' sessions: https, https-lanes, websocket or websocket-lanes")
	listVar(flags, &c.WebListen, "web-listen", errorsQuote, "`ADDRESS` to listen on for plain HTTP from a web server in front, which has the certificate: :PORT, HOST:PORT or unix:/PATH (repeatable)")
	listVar(flags, &c.WebForwardedFrom, "web-forwarded-from", errorsQuote, "web server in front that sends the client's address in X-Forwarded-For: `ADDRESS`, NETWORK/BITS or unix (repeatable)")
	flags.StringVar(&c.WebSite, "web-site", c.WebSite, "what visitors of the web site see: a `DIRECTORY` of files, or http://HOST:PORT of a server (default: a page of our own)")
	durationVar(flags, &c.ClockWindow, "clock-window", "largest clock difference of an ee client; 0: no limit")
	listVar(flags, &c.Fronts, "front", errorsQuote, "fronting host for unauthenticated clients: `HOST:PORT` or unix:/PATH, with DOMAIN= in front for one domain, and with ?proxy-protocol=1 or 2 to send it the clients' addresses (repeatable; default: the domain, port 443)")
	listVar(flags, &c.DataCenters, "dc", errorsQuote, "address of a data centre: `ID=HOST:PORT`, or '*=HOST:PORT' for all others; several for one ID are tried in order (repeatable)")
	flags.Int16Var((*int16)(&c.DefaultDC), "default-dc", int16(c.DefaultDC), "data centre `ID` for clients that request an unknown one (default: they are rejected)")
	flags.TextVar(&c.Family, "ip", c.Family, "address `FAMILY` of data centres: prefer-ipv4, prefer-ipv6, only-ipv4 or only-ipv6")
	listVar(flags, &c.Upstreams, "upstream", errorsNumbered, "`UPSTREAM` for data centres: direct, socks5://, http://, https:// or wss:// URL, wss for Telegram's WebSockets, or link of another MTProxy or a WEB proxy; with ?weight=N (repeatable)")
	flags.StringVar(&c.UpstreamsFile, "upstreams", c.UpstreamsFile, "`FILE` with an UPSTREAM on each line (default: $MTWIRE_UPSTREAMS, or systemd's credential named upstreams)")
	flags.BoolVar(&c.FastMode, "fast-mode", c.FastMode, "share the client's download key stream with the data centre; false re-encrypts the download, so that the bytes on both sides of the proxy are unrelated, and costs CPU")
	flags.IntVar(&c.MaxUnauthenticated, "max-unauthenticated", c.MaxUnauthenticated, "largest `NUMBER` of connections that are not authenticated (default: a quarter of the descriptors that the process may have, at most 16384)")
	flags.IntVar(&c.MaxUnauthenticatedPerAddress, "max-unauthenticated-per-address", c.MaxUnauthenticatedPerAddress, "largest `NUMBER` of these from one address, or IPv6 network of 64 bits (default: half of them)")
	flags.Float64Var(&c.MaxUnauthenticatedRate, "max-unauthenticated-rate", c.MaxUnauthenticatedRate, "`NUMBER` of connections a second from one address that turn out to be unauthenticated; while there are more, new ones are not searched for a secret, and see the site (default: no limit)")
	flags.IntVar(&c.MaxFronted, "max-fronted", c.MaxFronted, "largest `NUMBER` of these that are connected to a fronting host (default: an eighth of the descriptors, at most 4096)")
	flags.Float64Var(&c.SearchProcessors, "search-processors", c.SearchProcessors, "processor time, as a `NUMBER` of processors, of failed searches among thousands of secrets (default: 0.5, or an eighth of all)")
	durationVar(flags, &c.DialTimeout, "dial-timeout", "time limit of one connection attempt to a data centre")
	durationVar(flags, &c.StallTimeout, "stall", "log a stall after this long without an answer from a data centre; 0: never")
	durationVar(flags, &c.KeepAlive, "keep-alive", "silence after which an authenticated client is sent keep-alive probes; 0: none are sent")
	durationVar(flags, &c.PeerTimeout, "peer-timeout", "end a session when a peer acknowledges or takes nothing of what is sent to it for this long; 0: no limit")
	durationVar(flags, &c.Drain, "drain", "time limit of the shutdown after SIGTERM")
	flags.TextVar(&c.Public, "public", c.Public, "`HOST[:PORT]` that clients connect to, for the links; auto asks a public STUN server, stun:HOST[:PORT] this one (default: the domain if it is this machine's, or this machine's best address, and the port listened on)")
	flags.BoolVar(&c.PrintLinks, "print-links", c.PrintLinks, "print the links, also if standard output is not a terminal: every reader of a link can use the proxy")
	f.qr.define(flags)
	listVar(flags, &c.Admin, "admin", errorsQuote, "`ADDRESS` for operators, with metrics, health and mtwire user: unix for admin.sock in the state directory, unix:/PATH, HOST:PORT with a token, or off (repeatable; default: unix, if that can be listened on, except on Windows)")
	flags.StringVar(&c.AdminTokenFile, "admin-token-file", c.AdminTokenFile, "`FILE` with the token of --admin HOST:PORT (default: $MTWIRE_ADMIN_TOKEN, or systemd's credential named admin-token)")
	flags.IntVar(&c.MetricsUsers, "metrics-users", c.MetricsUsers, "largest `NUMBER` of users with metrics of their own; the others are summed")
	f.log.define(cmd, c)
	flags.BoolVar(&c.Probe, "probe", c.Probe, "at the start, ask every data centre over every upstream, and log the times")
	flags.BoolVar(&c.LogConnections, "log-connections", c.LogConnections, "log the end of each connection")
	flags.BoolVar(&c.LogClients, "log-clients", c.LogClients, "log the addresses of clients")
}

func (f *proxyFlags) run(cmd *cobra.Command) (err error) {
	hangups, stop := hangup.Notify()
	defer stop()
	requests, stop := notifyUpgrades()
	defer stop()
	if f.check || upgrade.IsStarted() { // beside another process, or to be
		service.DropProgramPages()
	}
	takeover, err := upgrade.FromEnvironment(version())
	if takeover == nil && err == nil && f.takeover != "" && !f.check {
		takeover, err = upgrade.FromSocket(f.takeover, version())
	}
	if err != nil {
		return err
	}
	serving := false
	defer func() {
		if !serving {
			takeover.Refuse(err)
		}
	}()
	loading := f.load(cmd)
	if f.check { // the log of what is checked is for the terminal, and no file is made
		f.log.file = ""
	} else if loading != nil {
		return loading
	} else if takeover == nil {
		f.fallBack(cmd)
	}
	log, err := f.log.open(cmd)
	if err != nil {
		return err
	}
	defer log.close()
	warnOfCredentials(cmd.Flags(), log.Logger)
	f.file.warn(log.Logger)
	f.config.Takeover, f.config.TakeoverSocket = takeover, f.takeover
	if err := f.inherit(cmd); err != nil {
		return err
	}
	if f.check {
		return f.checkConfig(cmd, loading, log.Logger)
	}
	f.config.Version, f.config.Level = version(), log.level
	f.config.Program = upgrade.Command{Path: programPath, Args: os.Args}
	f.file.watch(&f.config)
	s, err := service.New(f.config, log.Logger)
	if err != nil {
		return err
	}
	defer s.Close()
	if f.file.document != nil {
		s.ReloadWith(func(permitted func() error) (bool, error) {
			return true, f.reloadFile(cmd, s, log.Logger, permitted)
		})
	}
	if err := s.Listen(cmd.Context()); err != nil {
		return err
	}
	defer f.watchFiles(cmd, s, log.Logger)()
	go eachHangup(hangups, func() { f.reload(cmd, s, log) })
	go eachHangup(requests, func() { s.Upgrade("") })
	for _, address := range s.Addresses() {
		printListening(cmd, address)
	}
	if isTerminal(cmd.OutOrStdout()) {
		defer f.showLinksBelow(cmd, s, log.Logger)()
	} else if err := f.showLinks(cmd, s, log.Logger); err != nil {
		return unlessEnded(cmd.Context(), err)
	}
	again, stop := nextSignal(cmd.Context())
	defer stop()
	serving = true
	f.config.Users = nil // the service has them
	f.file.document.Release()
	return s.Run(cmd.Context(), again)
}

// fallBack has the program before start in the place of this one, if this one has crashed
// after an upgrade. What it logs is written at once, as this process may be replaced.
func (f *proxyFlags) fallBack(cmd *cobra.Command) {
	var out io.Writer = cmd.ErrOrStderr()
	if f.log.file != "" {
		out = &appender{f.log.file, out}
	}
	service.FallBack(&f.config, programPath, f.log.logger(out, slog.Level(f.log.level)))
}

// appender writes to a log file, which it opens for each line: a reader of one that is a FIFO would
// take a file without a line for the end. If it cannot, the line goes to another writer.
type appender struct {
	path      string
	otherwise io.Writer
}

func (a *appender) Write(line []byte) (int, error) {
	if logwriter.AppendLine(a.path, line) != nil {
		return a.otherwise.Write(line)
	}
	return len(line), nil
}

// linkPatience is how long links wait for the first lines of the log.
const linkPatience = 3 * time.Second

// showLinksBelow prints the links on a terminal, in the background, when the data
// centres were tried and the result is in the log: above them, so that the links and
// their QR codes stay on the screen. The caller calls stop at the end.
func (f *proxyFlags) showLinksBelow(cmd *cobra.Command, s *service.Service, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(cmd.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-s.Probed():
		case <-time.After(linkPatience):
		case <-ctx.Done():
			return
		}
		if err := f.showLinks(cmd, s, log); err != nil {
			log.Error("the links cannot be printed", "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// showLinks prints the links, or writes their QR codes, if they are to be shown.
func (f *proxyFlags) showLinks(cmd *cobra.Command, s *service.Service, log *slog.Logger) error {
	shown := f.showsLinks(cmd.OutOrStdout(), log)
	if !shown && f.qr.when != qrFile {
		return nil
	}
	links, notes := s.Links(cmd.Context())
	if !shown {
		return drawLinks(io.Discard, cmd.ErrOrStderr(), links, f.qr, nil)
	}
	for _, note := range notes {
		printNote(cmd, note)
	}
	return printLinks(cmd, links, f.qr)
}

// nextSignal returns a context that ends with the first SIGINT or SIGTERM after ctx
// has ended. The caller calls stop.
func nextSignal(ctx context.Context) (next context.Context, stop context.CancelFunc) {
	next, cancel := context.WithCancel(context.Background())
	unregister := context.AfterFunc(ctx, func() {
		ended, stop := signal.NotifyContext(next, os.Interrupt, syscall.SIGTERM)
		defer stop()
		<-ended.Done()
		cancel()
	})
	return next, func() {
		unregister()
		cancel()
	}
}
