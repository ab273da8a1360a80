// Package site runs web servers of other projects on loopback, as fronting hosts of
// a proxy: TLS 1.3 with a certificate of their own, a small and a large page, and
// short timeouts. Linux only; install installs their packages.
package site

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/interop/process"
)

// Domain is the domain of all sites.
const Domain = "example.com"

// Pages of every site.
const (
	SmallPage = "/small.html"
	LargePage = "/large.html"
	// LargeSize is the length of the large page, in bytes.
	LargeSize = 300 << 10
)

// Kind is a web server.
type Kind struct {
	Name string
	// Sequential means that the server serves one connection at a time.
	Sequential bool
	// Retries means that the server answers a hello of Chrome with a
	// HelloRetryRequest.
	Retries bool

	start func(ctx context.Context, s *Site) error
}

var kinds = []Kind{
	{Name: "nginx", start: startNginx},
	{Name: "apache2", start: startApache},
	{Name: "caddy", start: startCaddy},
	{Name: "haproxy", start: startHAProxy},
	{Name: "go", start: startGo},
	{Name: "openssl", start: startOpenSSL, Sequential: true},
	{Name: "rustls", start: startRustls},
	{Name: "nginx-p384", start: startNginxP384, Retries: true},
}

// Names returns the names of all kinds.
func Names() (names []string) {
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	return names
}

// Find returns the kind of that name.
func Find(name string) (Kind, error) {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, fmt.Errorf("unknown site %q, want one of %s", name, strings.Join(Names(), ", "))
	}
	return kinds[i], nil
}

// Site is a running web server.
type Site struct {
	Kind
	Address string

	dir     string // of its own, removed when the site stops
	rustls  string // the binary
	port    int
	servers []*process.Server
	stops   []func()
}

// listenTimeout bounds the time until a site accepts connections.
const listenTimeout = 20 * time.Second

// Start starts a site, and waits until it accepts connections. rustls is the binary
// of the rustls server, which only that site needs.
func Start(ctx context.Context, kind Kind, rustls string) (s *Site, err error) {
	s = &Site{Kind: kind, rustls: rustls}
	defer func() {
		if err != nil {
			err = fmt.Errorf("site %s: %w%s", kind.Name, err, s.log())
			s.Stop()
			s = nil
		}
	}()
	if s.dir, err = os.MkdirTemp("", "site-"); err != nil {
		return s, err
	}
	// Apache's processes run as another user.
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return s, err
	}
	if err := writePages(s.www()); err != nil {
		return s, err
	}
	if err := writeCertificate(s.dir); err != nil {
		return s, err
	}
	if s.port, err = freePort(); err != nil {
		return s, err
	}
	s.Address = fmt.Sprintf("127.0.0.1:%d", s.port)
	if err := kind.start(ctx, s); err != nil {
		return s, err
	}
	return s, s.awaitListening(ctx)
}

// Stop stops the site and removes its files.
func (s *Site) Stop() {
	for _, server := range s.servers {
		server.Stop()
	}
	for _, stop := range s.stops {
		stop()
	}
	os.RemoveAll(s.dir)
}

func (s *Site) path(name string) string { return filepath.Join(s.dir, name) }
func (s *Site) www() string             { return s.path("www") }

// write writes a configuration, in which DIR and PORT are replaced.
func (s *Site) write(name, text string) (path string, err error) {
	path = s.path(name)
	text = strings.NewReplacer("DIR", s.dir, "PORT", fmt.Sprint(s.port)).Replace(text)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// run starts a server in s.www().
func (s *Site) run(ctx context.Context, name string, args ...string) error {
	cmd := process.Command(ctx, name, args...)
	cmd.Dir = s.www()
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	server, err := process.Start(cmd)
	if err == nil {
		s.servers = append(s.servers, server)
	}
	return err
}

// log returns what the site's servers printed, to explain a failure.
func (s *Site) log() string {
	var b strings.Builder
	for _, server := range s.servers {
		if text := server.Stderr.Text() + server.Stdout.Text(); text != "" {
			fmt.Fprintf(&b, "\n%s", text)
		}
	}
	return b.String()
}

func (s *Site) awaitListening(ctx context.Context) error {
	for deadline := time.Now().Add(listenTimeout); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", s.Address)
		if err == nil {
			conn.Close()
			return nil
		}
		for _, server := range s.servers {
			select {
			case <-server.Ended:
				return errors.New("the server has ended")
			default:
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return errors.New("the server does not listen")
		}
	}
}

// freePort returns a port that no socket uses.
func freePort() (int, error) {
	address, err := loopback.FreeAddress()
	if err != nil {
		return 0, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}
