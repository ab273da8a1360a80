package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/mtwire/mtwire/internal/service/metrics"
	"github.com/mtwire/mtwire/internal/service/store"
	"github.com/mtwire/mtwire/internal/service/upgrade"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/proxy"
)

// AdminAddress is an address of the admin listener:
//
//	HOST:PORT    TCP, with a token
//	unix:/PATH   a Unix socket, which only its owner can use
//	unix         the same, admin.sock in the runtime or state directory
//	off          no listener, in place of the default
type AdminAddress struct {
	Network string // tcp, tcp4, tcp6, unix or off
	Address string // host:port or a path, "" for the default one
}

// UnmarshalText parses any of the forms. After an error a is unchanged.
func (a *AdminAddress) UnmarshalText(text []byte) error {
	if name := strings.TrimSpace(string(text)); name == "unix" || name == adminOff {
		*a = AdminAddress{Network: name}
		return nil
	}
	var address ListenAddress
	if err := address.UnmarshalText(text); err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(strings.TrimSpace(string(text))); err != nil && address.Network != "unix" {
		return fmt.Errorf("bad address %q: want HOST:PORT, unix:/PATH, unix or off", text)
	}
	*a = AdminAddress(address)
	return nil
}

// String returns the form that UnmarshalText parses.
func (a AdminAddress) String() string {
	if a.Address == "" {
		return a.Network
	}
	return ListenAddress(a).String()
}

// MarshalText returns the same text as String.
func (a AdminAddress) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

const (
	adminOff        = "off"
	adminSocket     = "admin.sock"
	adminSocketMode = 0o600
)

// adminAddresses returns the addresses of the admin listener. If none is configured, they
// are the default: the Unix socket, but on Windows, where a mode does not keep others from
// it, and on systems without such sockets.
func (c *Config) adminAddresses() (addresses []AdminAddress, byDefault bool) {
	switch {
	case len(c.Admin) > 0 && c.Admin[0].Network == adminOff:
		return nil, false
	case len(c.Admin) > 0:
		return c.Admin, false
	case slices.Contains([]string{"windows", "plan9", "js", "wasip1"}, runtime.GOOS):
		return nil, false
	}
	return []AdminAddress{{Network: "unix"}}, true
}

// checkAdmin returns an error if an address is given twice.
func (c *Config) checkAdmin() error {
	for i, address := range c.Admin {
		if slices.Contains(c.Admin[:i], address) {
			return configError("admin", "%v is given twice", address)
		}
		if address.Network == adminOff && len(c.Admin) > 1 {
			return configError("admin", "off means that there is no address, and %d are given", len(c.Admin)-1)
		}
		if address.Network != "unix" && !strings.HasSuffix(address.Address, ":0") && slices.Contains(c.Listen, ListenAddress(address)) {
			return configError("admin", "%v is an address of clients", address)
		}
	}
	return nil
}

// adminPath returns the path of the default socket: in the directory that systemd has
// made for the service while it runs, or else in the state directory, which may have to be made.
func (c *Config) adminPath() (path string, inState bool, err error) {
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), string(filepath.ListSeparator)); dir != "" && c.State == "" {
		return filepath.Join(dir, adminSocket), false, nil
	}
	dir, err := stateDirectory(c.State)
	if err != nil {
		return "", false, err
	}
	return filepath.Join(dir, adminSocket), true, nil
}

// listenAdmin listens on all addresses of the admin listener, or on none. That the default
// one cannot be listened on is no error.
func (c *Config) listenAdmin(ctx context.Context, log *slog.Logger) (listeners []net.Listener, err error) {
	addresses, byDefault := c.adminAddresses()
	for _, address := range addresses {
		ln, err := c.listenAdminOn(ctx, address)
		if byDefault && err != nil {
			warnNoAdmin(log, err)
			return nil, nil
		}
		if err != nil {
			closeAll(listeners)
			return nil, configError("admin", "%v: %w", address, err)
		}
		listeners = append(listeners, ln)
		log.Info("admin listener", "address", ln.Addr().String())
		if tcp, ok := ln.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
			log.Warn("the admin listener can be reached by others, and its token is sent without encryption", "address", ln.Addr().String())
		}
	}
	return listeners, nil
}

func warnNoAdmin(log *slog.Logger, err error) {
	log.Warn("there is no admin listener, which mtwire user needs: --admin unix:/PATH sets another address, and --admin off ends this warning", "cause", err)
}

// checkAdminSockets returns what is wrong with the paths of the admin listener, and warns of that of the
// default one, as listenAdmin does.
func (c *Config) checkAdminSockets(log *slog.Logger) (wrong []error) {
	addresses, byDefault := c.adminAddresses()
	for i, address := range addresses {
		err := c.checkAdminSocket(address)
		switch {
		case err == nil:
		case byDefault:
			warnNoAdmin(log, err)
		default:
			wrong = append(wrong, &ConfigError{fmt.Sprintf("admin[%d]", i), err})
		}
	}
	return wrong
}

func (c *Config) checkAdminSocket(address AdminAddress) error {
	if address.Network != "unix" {
		return nil
	}
	if address.Address != "" {
		return checkSocketPath(address.Address)
	}
	path, inState, err := c.adminPath()
	switch {
	case err != nil:
		return err
	case !inState:
		return checkSocketPath(path)
	}
	if err := mayMakeFiles(filepath.Dir(path)); err != nil {
		return err
	}
	return checkSocketFile(path)
}

func (c *Config) listenAdminOn(ctx context.Context, address AdminAddress) (net.Listener, error) {
	if ln := c.handedOver(upgrade.Admin, address); ln != nil {
		return ln, nil
	}
	if address.Network != "unix" {
		config := net.ListenConfig{}
		if c.ReusePort {
			config.Control = sharePort
		}
		ln, err := config.Listen(ctx, address.Network, address.Address)
		if err != nil {
			return nil, explainTCP(err)
		}
		return ln, nil
	}
	path := address.Address
	if path == "" {
		var err error
		var inState bool
		if path, inState, err = c.adminPath(); err == nil && inState {
			err = os.MkdirAll(filepath.Dir(path), 0o700)
		}
		if err != nil {
			return nil, err
		}
	}
	return listenUnix(ctx, path, adminSocketMode, c.ReusePort)
}

// administration is the admin listener of a service. Nil is none.
type administration struct {
	token     *adminToken // nil without a listener on TCP
	metrics   *metrics.Metrics
	readiness *admin.Readiness
	server    *admin.Server
	listeners []net.Listener
	shared    bool // other processes may listen beside this one

	// listen listens on the default address, nil if there is another one. retry is the
	// time between two attempts.
	listen func(ctx context.Context) (net.Listener, error)
	retry  time.Duration

	mu        sync.Mutex
	accepters []*netx.WatchedListener // of the listeners that are served, or were
}

// newAdministration returns nil if there is to be no listener. Its proxy is set by watch.
func (s *Service) newAdministration() (*administration, error) {
	addresses, byDefault := s.config.adminAddresses()
	token, err := s.config.openAdminToken(s.log)
	if err != nil || len(addresses) == 0 {
		return nil, err
	}
	a := &administration{token: token, shared: s.config.ReusePort, retry: adminRetry, metrics: metrics.New(metrics.Config{
		MaxUsers: orNegative(s.config.MetricsUsers), RefusalCause: refusalCause, Version: s.config.Version, Store: s.storeStatus,
	})}
	if byDefault {
		config := s.config // of which the settings for this stay: see withFixed
		config.Users = nil // which would be kept
		a.listen = func(ctx context.Context) (net.Listener, error) { return config.listenAdminOn(ctx, addresses[0]) }
	}
	return a, nil
}

// watch makes the service's proxy the one that is administered. It does nothing if there
// is no listener.
func (a *administration) watch(s *Service) {
	if a == nil {
		return
	}
	a.metrics.Watch(s.proxy)
	a.readiness = admin.NewReadiness(s.lastHeard, s.proxy.ProbeAny)
	a.server = admin.New(admin.Config{
		Token:    a.token.current,
		Metrics:  a.metrics.Handler(),
		Ready:    a.readiness.Check,
		Log:      s.log,
		LogLevel: s.config.Level,
		Version:  s.config.Version,
		Proxy:    s.proxy,
		Reload:   s.reloadForAdmin,
		Rate:     s.rates.rate,
		Store:    s.storeForAdmin,
		Lists: func() admin.Lists {
			c := s.access.Counts()
			return admin.Lists{Allow: c.Allow, Block: c.Block, NotAllowed: c.NotAllowed, Blocked: c.Blocked, AllowAdded: c.AllowAdded, BlockAdded: c.BlockAdded}
		},
		Configuration: s.reloads.document,
		Upgrade:       s.upgradeForAdmin,
		Networks:      s.networksForAdmin, UpdateNetworks: s.updateNetworks,

		NewSecret:   s.newSecret,
		Users:       s.policy,
		UpdateUsers: s.updateForAdmin,
		Where:       s.whereIsUser,
		History:     s.historyForAdmin,
		Links:       s.linksOf,
	})
}

// updateForAdmin is admin.Config.UpdateUsers.
func (s *Service) updateForAdmin(change func([]users.User) ([]users.User, error)) error {
	err := s.UpdateUsers(change)
	var unusable *unusableError
	switch {
	case errors.Is(err, store.ErrUnavailable):
		err = fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	case errors.As(err, &unusable):
		err = fmt.Errorf("%w: %w", admin.ErrUnusable, err)
	}
	return err
}

// historyForAdmin is admin.Config.History.
func (s *Service) historyForAdmin(name string) (days []admin.Day, err error) {
	all, err := s.History(name)
	for _, day := range all {
		for _, r := range day.Records { // the user's
			days = append(days, admin.Day{Day: day.Day, Up: r.Up, Down: r.Down})
		}
	}
	return days, err
}

// refusalCause returns the cause for which the users' limits have refused a client.
func refusalCause(err error) string {
	var refusal *users.Refusal
	if errors.As(err, &refusal) {
		return refusal.Cause.String()
	}
	return ""
}

// storeForAdmin is admin.Config.Store.
func (s *Service) storeForAdmin() *admin.Store {
	if s.store == nil {
		return nil
	}
	status := s.store.Status()
	document := &admin.Store{Directory: status.Directory, Damaged: status.Damaged}
	if !status.Written.IsZero() {
		document.Written = &status.Written
	}
	if status.Err != nil {
		document.Failing, document.Since = status.Err.Error(), &status.Since
	}
	return document
}

// storeStatus is metrics.Config.Store.
func (s *Service) storeStatus() (written time.Time, failing, ok bool) {
	if s.store == nil {
		return written, false, false
	}
	status := s.store.Status()
	return status.Written, status.Err != nil, true
}

// orNegative returns n, or a negative number if it is 0, which package metrics takes for
// its default.
func orNegative(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// lastHeard returns when a data centre has sent a byte last.
func (s *Service) lastHeard() (last time.Time) {
	for _, dc := range s.proxy.DataCenters() {
		if dc.Heard.After(last) {
			last = dc.Heard
		}
	}
	return last
}

// probed notes the result of the probes at the start. It does nothing if there is no
// listener.
func (a *administration) probed(probes []proxy.Probe) {
	if a == nil || len(probes) == 0 {
		return
	}
	var failed []error
	for _, p := range probes {
		if p.Err == nil {
			a.readiness.Probed(nil)
			return
		}
		failed = append(failed, p.Err)
	}
	a.readiness.Probed(errors.Join(failed...))
}

// serve serves the listeners until stop is called, which is when the proxy has ended.
// The proxy accepts from now until ctx ends. Then a process that listens on the same TCP
// addresses gets all requests. The first request is served when counted is closed: before, the
// process before this one has counted what this one does not know.
func (a *administration) serve(ctx context.Context, counted <-chan struct{}, log *slog.Logger) (stop func()) {
	if a == nil {
		return func() {}
	}
	a.readiness.SetAccepting(true)
	unregister := context.AfterFunc(ctx, func() {
		a.readiness.SetAccepting(false)
		for _, ln := range a.listeners {
			if a.shared && ln.Addr().Network() != "unix" {
				ln.Close()
			}
		}
	})
	for _, ln := range a.listeners {
		go func() {
			<-counted
			watched := a.watchListener(ln)
			defer watched.End()
			if err := a.server.Serve(watched); err != nil {
				log.Error("the admin listener has failed", "address", ln.Addr().String(), "cause", netx.Readable(err))
			}
		}()
	}
	if len(a.listeners) == 0 && a.listen != nil {
		go a.listenLater(ctx, log)
	}
	return func() {
		unregister()
		a.close()
	}
}

// watchListener returns ln as responds asks it.
func (a *administration) watchListener(ln net.Listener) *netx.WatchedListener {
	watched := netx.Watch(ln)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.accepters = append(a.accepters, watched)
	return watched
}

// responds returns nil when all listeners that are served accept connections, and the cause of
// ctx's end if that is before. It may be called on nil.
func (a *administration) responds(ctx context.Context) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	accepters := slices.Clone(a.accepters)
	a.mu.Unlock()
	for _, ln := range accepters {
		if err := ln.Responds(ctx); err != nil {
			return fmt.Errorf("the admin listener: connections to %v are not accepted: %w", ln.Addr(), err)
		}
	}
	return nil
}

// adminRetry is the time between two attempts to listen on the default address.
const adminRetry = 10 * time.Second

// listenLater listens on the default address as soon as that is possible, such as at the
// end of the process that had it, and serves it. It returns when ctx ends before.
func (a *administration) listenLater(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(a.retry)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if ln, err := a.listen(ctx); err == nil {
			log.Info("admin listener", "address", ln.Addr().String())
			watched := a.watchListener(ln)
			defer watched.End()
			a.server.Serve(watched) // until close
			return
		}
	}
}

// leave stops listening, after another process has taken the sockets over. Requests that
// are served go on, and the next ones of their connections are the other process's.
func (a *administration) leave() {
	if a == nil {
		return
	}
	a.readiness.SetAccepting(false)
	closeAllHere(a.listeners)
	a.server.Leave()
}

// close ends the listeners and their requests. It may be called again.
func (a *administration) close() {
	if a == nil {
		return
	}
	a.readiness.SetAccepting(false)
	a.readiness.Close()
	a.server.Close()
	closeAll(a.listeners)
}
