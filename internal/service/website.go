package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/mtwire/mtwire/internal/service/upgrade"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/internal/service/web"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
	"github.com/mtwire/mtwire/webproxy"
)

// A WEB proxy: a web site on the ports of the proxy, whose relay brings streams of clients.

// WebHost is the host name of the web site and of WEB links: a name in ASCII with a dot.
type WebHost string

// UnmarshalText parses a host name, or the URL of a site on it. After an error h is
// unchanged.
func (h *WebHost) UnmarshalText(text []byte) error {
	host := strings.ToLower(strings.TrimSpace(string(text)))
	if rest, ok := strings.CutPrefix(host, "https://"); ok {
		host = strings.TrimSuffix(rest, "/")
	}
	if err := webproxy.CheckHost(host); err != nil {
		return err
	}
	*h = WebHost(host)
	return nil
}

// MarshalText returns the host name.
func (h WebHost) MarshalText() ([]byte, error) { return []byte(h), nil }

// WebPath is the base path of WEB links, without outer slashes: the relay is below it, and
// the rest of the site is the web site's alone. "" is none.
type WebPath string

// UnmarshalText parses a path, which may have outer slashes. After an error p is unchanged.
func (p *WebPath) UnmarshalText(text []byte) error {
	path := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(text)), "/"), "/")
	if err := webproxy.CheckPath(path); err != nil {
		return err
	}
	*p = WebPath(path)
	return nil
}

// MarshalText returns the path.
func (p WebPath) MarshalText() ([]byte, error) { return []byte(p), nil }

// website is the web site of a service, which may have none at the moment. Its methods may
// be called concurrently, but for those that change it, which are called under
// Service.reloading, or before there are clients.
type website struct {
	server *web.Server
	key    *webTokenKey // nil before there is a site
	log    *slog.Logger

	mu sync.Mutex
	webParts
	listeners   []*listener // for web servers in front; the slice is replaced, and never changed
	serve       *webServing // nil before run
	certificate context.CancelFunc
	ended       bool
}

// webParts is what a configuration makes of a website. All of it is zero without a host.
type webParts struct {
	files   *web.Files     // nil with acme
	acme    *web.ACME      // nil with files
	issuing web.ACMEConfig // of acme
	site    *web.Site      // and where it is
	where   string
	carrier webproxy.Carrier
	local   net.Listener // of the site as a fronting host, on loopback; nil without a certificate
}

// newWebsite returns the web site of the configuration.
func (s *Service) newWebsite() (*website, error) {
	w := &website{log: s.log}
	server, err := web.New(web.Config{Log: s.log})
	if err != nil {
		return nil, err
	}
	w.server = server
	change, err := w.prepare(&s.config, s.rates.giveBack)
	if err != nil {
		return nil, err
	}
	change.commit()
	return w, nil
}

// servesWeb reports whether clients reach the web site at the listeners of the proxy.
func (c *Config) servesWeb() bool { return c.Web != "" && (c.WebCert != "" || len(c.WebListen) == 0) }

// defaultDomain returns the domain of secrets that need one and have none: that of the web
// site, or DefaultDomain.
func (c *Config) defaultDomain() string {
	if c.servesWeb() {
		return string(c.Web)
	}
	return DefaultDomain
}

// addFront makes the site a fronting host of the proxy, unless another address is
// configured for its name: the name may lead to this process, which would connect to
// itself.
func (p *webParts) addFront(config *proxy.Config, host WebHost) {
	if p.local == nil {
		return
	}
	if _, configured := config.Fronts[string(host)]; !configured {
		config.Fronts[string(host)] = proxy.Front{Address: p.local.Addr().String(), ProxyProtocol: proxy.ProxyProtocolV2}
	}
}

// acmeDir is the directory of the ACME account and certificate in the state directory.
const acmeDir = "acme"

// acmeConfig returns how the certificate is got from an ACME server.
func (c *Config) acmeConfig(log *slog.Logger) (web.ACMEConfig, error) {
	dir, err := stateDirectory(c.State)
	return web.ACMEConfig{
		Host: string(c.Web), Directory: cmp.Or(c.WebACMEDirectory, web.LetsEncrypt), Email: c.WebACMEEmail,
		Path: filepath.Join(dir, acmeDir), Log: log,
	}, err
}

// checkWeb returns what is wrong with the settings of the web site.
func (c *Config) checkWeb() (wrong []error) {
	fail := func(when bool, setting, text string) {
		if when {
			wrong = append(wrong, configError(setting, "%s", text))
		}
	}
	const alone = "there is no web site: set web to its host name"
	fail(c.Web == "" && c.WebPath != "", "web-path", alone)
	fail(c.Web == "" && c.WebCarrier != webproxy.HTTPS, "web-carrier", alone)
	fail(c.Web == "" && c.WebSite != "", "web-site", alone)
	fail(c.Web == "" && c.WebCert != "", "web-cert", alone)
	fail(c.Web == "" && c.WebKey != "", "web-key", alone)
	fail(c.Web == "" && c.WebACMEDirectory != "", "web-acme-directory", alone)
	fail(c.Web == "" && c.WebACMEEmail != "", "web-acme-email", alone)
	fail(c.WebACMEDirectory != "" && !isURL(c.WebACMEDirectory), "web-acme-directory", "want the URL of a server's directory, https://HOST/PATH")
	fail(c.WebACMEEmail != "" && !isEmail(c.WebACMEEmail), "web-acme-email", "want an address, NAME@HOST")
	fail(c.Web == "" && len(c.WebListen) > 0, "web-listen", alone)
	fail(c.siteIsOurs(), "web-site", "it leads to web-listen, which would ask itself for ever: want the server that has the site")
	for i, address := range c.WebListen {
		fail(slices.Contains(c.WebListen[:i], address), "web-listen", address.String()+" is given twice")
		if !strings.HasSuffix(address.Address, ":0") {
			fail(slices.Contains(c.Listen, address), "web-listen", address.String()+" is an address of clients")
			fail(slices.Contains(c.Admin, AdminAddress(address)), "web-listen", address.String()+" is an address of the admin listener")
		}
	}
	fail(len(c.WebListen) == 0 && len(c.WebForwardedFrom) > 0, "web-forwarded-from", "there is no web-listen")
	fail(c.WebCert != "" && c.WebKey == "", "web-key", "the key of the certificate is missing")
	fail(c.WebCert == "" && c.WebKey != "", "web-cert", "the certificate of the key is missing")
	return wrong
}

// siteIsOurs reports whether the server that has the site is this one, at web-listen.
func (c *Config) siteIsOurs() bool {
	site, err := url.Parse(c.WebSite)
	if err != nil || site.Host == "" {
		return false
	}
	for _, address := range c.WebListen {
		host, port, err := net.SplitHostPort(address.Address)
		if err == nil && port == cmp.Or(site.Port(), "80") && (host == site.Hostname() || isHere(host) && isHere(site.Hostname())) {
			return true
		}
	}
	return false
}

// isHere reports whether host leads to this machine by loopback, or is all of its addresses.
func isHere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || host == "localhost" || err == nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// isURL reports whether text is the URL of an HTTPS server.
func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != ""
}

// isEmail reports whether text is a plain e-mail address.
func isEmail(text string) bool {
	name, host, ok := strings.Cut(text, "@")
	return ok && name != "" && host != "" && !strings.ContainsAny(text, " ,<>?&\"")
}

// checkWebFiles returns what is wrong with the files of the web site.
func (c *Config) checkWebFiles() (wrong []error) {
	if c.Web == "" || len(c.checkWeb()) > 0 {
		return nil
	}
	if c.WebCert != "" {
		if _, err := c.loadCertificate(slog.New(slog.DiscardHandler)); err != nil {
			wrong = append(wrong, err)
		}
	}
	site, err := web.NewSite(c.WebSite, slog.New(slog.DiscardHandler))
	if err != nil {
		return append(wrong, &ConfigError{"web-site", err})
	}
	site.Close()
	return wrong
}

// checkCertificates warns if certificates of an ACME server cannot be kept.
func (c *Config) checkCertificates(log *slog.Logger) {
	if c.Web == "" || c.WebCert != "" || len(c.WebListen) > 0 {
		return
	}
	dir, err := stateDirectory(c.State)
	if err != nil {
		return // an error of New
	}
	if err := mayMakeFiles(filepath.Join(dir, acmeDir)); err != nil {
		log.Warn("certificates of the ACME server cannot be kept: one that is there goes on until it expires", "error", err)
	}
}

// loadCertificate reads the certificate and its key.
func (c *Config) loadCertificate(log *slog.Logger) (*web.Files, error) {
	files, err := web.LoadFiles(c.WebCert, c.WebKey, string(c.Web), log)
	if err != nil {
		return nil, &ConfigError{"web-cert", err}
	}
	return files, nil
}

// listen listens for web servers in front.
func (w *website) listen(ctx context.Context, c *Config) error {
	var all []*listener
	for _, address := range c.WebListen {
		ln := c.handedOver(upgrade.Web, address)
		if ln == nil {
			var err error
			if ln, err = address.listen(ctx, c.ReusePort); err != nil {
				closeAllHere(all)
				return configError("web-listen", "%v: %w", address, err)
			}
		}
		all = append(all, &listener{Listener: ln, address: address})
	}
	w.replace(all)
	return nil
}

// handed returns the listeners for an upgrade.
func (w *website) handed() (all []upgrade.Listener) {
	for _, l := range w.list() {
		all = append(all, upgrade.Listener{Use: upgrade.Web, Address: l.address.String(), Listener: l.Listener})
	}
	return all
}

// proxySite returns the site for the proxy, nil if another server has its certificate.
func (w *website) proxySite(p *webParts, host WebHost) *proxy.WebSite {
	if p.local == nil {
		return nil
	}
	return &proxy.WebSite{Host: string(host), Serve: func(conn *proxy.WebConn) { w.server.Serve(conn) }}
}

// setUsers replaces the users of the relay, if there is a site. Users that are disabled are none.
func (w *website) setUsers(all []users.User) {
	parts := w.parts()
	if parts.site == nil {
		return
	}
	if err := w.server.SetUsers(webUsers(all, parts.carrier)); err != nil { // they were checked
		w.log.Error("the web site keeps the users that it has", "error", err)
	}
}

// webUsers returns the users of a relay: a secret's key, in the mode padded unless it
// allows all. A key that several secrets have is the first one's.
func webUsers(all []users.User, carrier webproxy.Carrier) (list []webproxy.User) {
	taken := make(map[[16]byte]bool, len(all))
	for i, u := range users.Proxies(all) {
		if all[i].Disabled {
			continue
		}
		for _, secret := range u.Secrets {
			if !taken[secret.Key] {
				taken[secret.Key] = true
				list = append(list, webproxy.User{Name: u.Name, Secret: webSecret(secret), Carrier: carrier})
			}
		}
	}
	return list
}

// webSecret returns a secret as it is in WEB links.
func webSecret(secret mtproxy.Secret) mtproxy.Secret {
	if secret.Mode == mtproxy.FakeTLS {
		return mtproxy.Secret{Mode: mtproxy.Padded, Key: secret.Key}
	}
	return secret
}

// webTokenFile has the key of the relay's tokens, in the state directory: tokens from
// before a restart are known, and kept from the site.
const webTokenFile = "web-token-key"

// webTokenKey is that key, which may have to be written.
type webTokenKey struct {
	key  [32]byte
	path string // "" if there is no state directory
	kept bool
}

// readWebTokenKey reads the key, or makes one.
func (c *Config) readWebTokenKey() (*webTokenKey, error) {
	k := &webTokenKey{}
	rand.Read(k.key[:])
	dir, err := stateDirectory(c.State)
	if err != nil {
		return k, nil // New has no use for one
	}
	k.path = filepath.Join(dir, webTokenFile)
	text, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err == nil {
		var key []byte
		if key, err = hex.DecodeString(strings.TrimSpace(string(text))); err == nil && len(key) != len(k.key) {
			err = errors.New("it does not have 32 bytes")
		}
		if err == nil {
			k.key, k.kept = [32]byte(key), true
			return k, nil
		}
		err = fmt.Errorf("%s is damaged, remove it: %w", k.path, err)
	}
	return nil, &ConfigError{"state", err}
}

// keep writes the key if it is new.
func (w *website) keep() {
	if w.key == nil || w.key.kept || w.key.path == "" {
		return
	}
	err := os.MkdirAll(filepath.Dir(w.key.path), 0o700)
	if err == nil {
		err = writeNew(w.key.path, hex.EncodeToString(w.key.key[:])+"\n", os.Link)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		warnTokenKeyNotKept(w.log, err)
	}
	w.key.kept = true
}

// checkTokenKey warns if the key is to be kept and cannot be.
func (c *Config) checkTokenKey(log *slog.Logger) {
	if c.Web == "" {
		return
	}
	if k, err := c.readWebTokenKey(); err == nil && !k.kept && k.path != "" {
		if err := mayMakeFiles(filepath.Dir(k.path)); err != nil {
			warnTokenKeyNotKept(log, err)
		}
	}
}

func warnTokenKeyNotKept(log *slog.Logger, err error) {
	log.Warn("the key of WEB sessions is not kept: after a restart, their requests reach the web site", "error", err)
}
