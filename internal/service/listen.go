package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/service/upgrade"
)

// ListenAddress is an address to listen on:
//
//	:PORT        all addresses, IPv4 and IPv6; also PORT and *:PORT
//	HOST:PORT    one address; 0.0.0.0 is all of IPv4 and [::] all of IPv6
//	IP           the same, with port 8443; an IPv6 address in brackets, or ::
//	unix:/PATH   a Unix socket, which is removed when its listener closes
//
// Port 0 is one that the system chooses.
type ListenAddress struct {
	Network string // tcp, tcp4, tcp6 or unix
	Address string // host:port or a path
}

// UnmarshalText parses any of the forms. After an error a is unchanged.
func (a *ListenAddress) UnmarshalText(text []byte) error {
	if path, ok := strings.CutPrefix(string(text), netx.UnixPrefix); ok {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("bad address %q: want an absolute path, unix:/PATH", text)
		}
		*a = ListenAddress{"unix", path}
		return nil
	}
	address := completeAddress(strings.TrimSpace(string(text)))
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("bad address %q: want :PORT, HOST:PORT, [IPV6]:PORT or unix:/PATH%s", text, meantAddress(address))
	}
	if host != "" && !netx.IsHost(host) {
		return fmt.Errorf("bad address %q: %w", text, netx.ErrHost)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("bad address %q: want a port from 0 to 65535", text)
	}
	*a = ListenAddress{tcpNetwork(host), address}
	return nil
}

// defaultPort is the port to listen on.
const defaultPort = "8443"

// completeAddress returns HOST:PORT for an address of which a part is clear: a port
// alone, * for all addresses, and an IP address without a port.
func completeAddress(text string) string {
	if _, err := strconv.ParseUint(text, 10, 16); err == nil {
		return ":" + text
	}
	if port, ok := strings.CutPrefix(text, "*:"); ok {
		return ":" + port
	}
	bare, brackets := strings.CutPrefix(text, "[")
	bare, closed := strings.CutSuffix(bare, "]")
	if ip, err := netip.ParseAddr(bare); err == nil && brackets == closed && (brackets == ip.Is6() || text == "::") {
		return net.JoinHostPort(bare, defaultPort)
	}
	return text
}

// meantAddress returns what was probably meant by an IPv6 address without brackets,
// which may end in a port or not.
func meantAddress(text string) string {
	last := strings.LastIndex(text, ":")
	if last < 0 {
		return ""
	}
	if ip, err := netip.ParseAddr(text[:last]); err == nil && ip.Is6() {
		if n, err := strconv.ParseUint(text[last+1:], 10, 16); err == nil && n > 0 {
			return fmt.Sprintf("; for port %d of %v write [%v]:%d", n, ip, ip, n)
		}
	}
	if ip, err := netip.ParseAddr(text); err == nil {
		return fmt.Sprintf("; for %v write [%v]:%s", ip, ip, defaultPort)
	}
	return ""
}

// String returns the form that UnmarshalText parses.
func (a ListenAddress) String() string {
	if a.Network == "unix" {
		return netx.UnixPrefix + a.Address
	}
	return a.Address
}

// MarshalText returns the same text as String.
func (a ListenAddress) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// tcpNetwork returns the network of a host's address family, so that 0.0.0.0 and
// [::] can be listened on side by side: with network tcp, package net listens on
// both families for either of them.
func tcpNetwork(host string) string {
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return "tcp"
	case addr.Is4():
		return "tcp4"
	}
	return "tcp6"
}

func (c *Config) checkListen() error {
	if len(c.Listen)+len(c.Inherited) == 0 {
		return configError("listen", "no address")
	}
	for i, address := range c.Listen {
		if slices.Contains(c.Listen[:i], address) {
			return configError("listen", "%v is given twice", address)
		}
	}
	return nil
}

// Listen listens on all configured addresses, or on none: if one fails, it closes
// the others, and the inherited ones. Then it opens the state directory and, if there is neither a
// configured nor a kept secret, writes the generated one. Clients can connect from
// then on, and wait for Run. The caller calls Run or Close.
func (s *Service) Listen(ctx context.Context) (err error) {
	if s.listeners.all, err = s.config.listenAll(ctx); err != nil {
		return err
	}
	s.beginStore()
	if err := s.keep(); err != nil {
		s.listeners.closeAll()
		return err
	}
	if err := s.web.listen(ctx, &s.config); err != nil {
		s.listeners.closeAll()
		return err
	}
	if s.admin != nil {
		if s.admin.listeners, err = s.config.listenAdmin(ctx, s.log); err != nil {
			s.listeners.closeAll()
			return err
		}
	}
	s.releaseConfig()
	s.logLimits() // before the links, which are to stay on the screen
	return nil
}

// Addresses returns the addresses of the listeners: those of Config.Listen in its
// order, and then the inherited ones.
func (s *Service) Addresses() (addresses []net.Addr) {
	for _, ln := range s.listeners.list() {
		addresses = append(addresses, ln.Addr())
	}
	return addresses
}

func (c *Config) listenAll(ctx context.Context) (listeners []*listener, err error) {
	inherited := c.Inherited
	for _, address := range c.Listen {
		l := &listener{Listener: c.handedOver(upgrade.Clients, address), address: address}
		if l.Listener == nil {
			l.Listener, inherited = takeInherited(inherited, address)
			l.inherited = l.Listener != nil
		}
		if l.Listener == nil {
			l.Listener = c.storedListener(address)
		}
		if l.Listener == nil {
			if l.Listener, err = address.listen(ctx, c.ReusePort); err != nil {
				for _, l := range listeners {
					l.Close()
				}
				closeAll(inherited)
				return nil, configError("listen", "%v: %w", address, err)
			}
		}
		listeners = append(listeners, l)
	}
	for _, ln := range inherited {
		listeners = append(listeners, &listener{Listener: ln, inherited: true})
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, ln := range listeners {
		ln.Close()
	}
}

// listen listens on a. With beside, another process may do so at the same time.
func (a ListenAddress) listen(ctx context.Context, beside bool) (net.Listener, error) {
	if a.Network == "unix" {
		return listenUnix(ctx, a.Address, socketMode, beside)
	}
	// The proxy enables keep-alive for the clients that it authenticates.
	config := net.ListenConfig{KeepAlive: -1}
	// Go listens for Multipath TCP by default. Telegram's clients do not use it,
	// and such a socket costs more with every client.
	config.SetMultipathTCP(false)
	if beside {
		config.Control = sharePort
	}
	ln, err := config.Listen(ctx, a.Network, a.Address)
	if err != nil {
		return nil, explainTCP(err)
	}
	if beside {
		return shareListener(ln), nil
	}
	return netx.Sockets(ln), nil
}

// explainTCP adds the remedy to an error, and removes the address, which listenAll
// adds.
func explainTCP(err error) error {
	cause := netx.Readable(err)
	var op *net.OpError
	if errors.As(err, &op) {
		cause = netx.Readable(op.Err)
	}
	if remedy := ListenRemedy(err); remedy != "" {
		return fmt.Errorf("%w: %s", cause, remedy)
	}
	return cause
}

// ListenRemedy returns what to do about an error of listening on a TCP address, or "".
func ListenRemedy(err error) string {
	var unresolved *net.DNSError
	switch {
	case errors.As(err, &unresolved):
		return "want an address of this machine, or :PORT to listen on all"
	case errors.Is(err, fs.ErrPermission), netx.IsErrno(err, netx.EACCES):
		return portRemedy(runtime.GOOS)
	case netx.IsErrno(err, netx.EADDRINUSE):
		return "another proxy or a web server may be running there; to start beside a proxy, start both with --reuse-port"
	case netx.IsErrno(err, netx.EADDRNOTAVAIL):
		return "this machine does not have that address; leave it out to listen on all addresses"
	}
	return ""
}

// portRemedy returns what to do about a port that the system does not allow.
func portRemedy(system string) string {
	switch system {
	case "linux", "android":
		return "choose a port above 1023, or allow this one with setcap cap_net_bind_service=+ep on the program's file"
	case "windows":
		return "choose another port: a service has this one for itself, or the system reserves it (netsh int ipv4 show excludedportrange tcp lists those)"
	}
	return "choose a port above 1023, or run as root"
}

// socketMode allows processes of the same group, such as a web server, to connect
// to a Unix socket, and no others.
const socketMode = 0o660

// listenUnix listens on a Unix socket that has a mode. With beside, it takes the name
// from the socket of another process.
func listenUnix(ctx context.Context, path string, mode fs.FileMode, beside bool) (net.Listener, error) {
	if beside {
		return listenUnixBeside(ctx, path, mode)
	}
	return listenUnixAlone(ctx, path, mode)
}

// listenUnixAlone listens on a Unix socket. It replaces a socket that a process left
// behind when it died.
func listenUnixAlone(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	ln, err := bindUnix(ctx, path, mode)
	if netx.IsErrno(err, netx.EADDRINUSE) {
		if err := removeStale(path); err != nil {
			return nil, err
		}
		ln, err = bindUnix(ctx, path, mode)
	}
	if err != nil {
		return nil, explainUnix(err, path)
	}
	// Until here the file lacks what the umask takes from mode.
	if err := os.Chmod(path, mode); err != nil {
		ln.Close()
		return nil, err
	}
	return ownSocket(ln, path), nil
}

var errNoSocket = errors.New("the file there is not a socket")

// removeStale removes a socket that no process listens on any more.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errNoSocket
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	// Any other error, such as that of a full queue, does not prove that the
	// process is dead.
	if !netx.IsErrno(err, netx.ECONNREFUSED) {
		return errors.New("another process listens there, perhaps another proxy")
	}
	return os.Remove(path)
}

func explainUnix(err error, path string) error {
	cause := netx.Readable(err)
	var op *net.OpError
	if errors.As(err, &op) {
		cause = netx.Readable(op.Err)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: make the directory %s first", cause, filepath.Dir(path))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: this user may not make files in %s", cause, filepath.Dir(path))
	case netx.IsErrno(err, netx.EINVAL):
		return fmt.Errorf("%w: the path of %d bytes may be too long for a socket", cause, len(path))
	}
	return cause
}
