package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

// WEB links: to the web site's host, and always to port 443.

// webLink returns the WEB link of a secret; false if there is no web site.
func (c *Config) webLink(secret mtproxy.Secret) (webproxy.Link, bool) {
	if c.Web == "" {
		return webproxy.Link{}, false
	}
	return webproxy.Link{Host: string(c.Web), Path: string(c.WebPath), Secret: webSecret(secret)}, true
}

// webPort is the port of WEB links.
const webPort = 443

// webNotes returns a sentence for each reason why WEB clients may not be able to connect. r
// is where other clients connect to.
func (s *Service) webNotes(ctx context.Context, c *Config, m *machine, r reach) (notes []string) {
	if c.Web == "" {
		return nil
	}
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if note := m.noteWebName(ctx, string(c.Web), r); note != "" {
		add("%s", note)
	}
	if len(c.WebListen) > 0 {
		return notes // the server in front has the port and the certificate
	}
	if r.port != webPort {
		add("WEB links need port 443, and clients reach this proxy at port %d: listen on :443, or forward that port to this one", r.port)
	}
	if note := s.web.noteCertificate(); note != "" {
		add("%s", note)
	}
	return notes
}

// noteWebName returns what is wrong with the addresses of the web site's name, "" if
// nothing seems to be.
func (m *machine) noteWebName(ctx context.Context, host string, r reach) string {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	resolved, err := m.lookup(ctx, host)
	if len(resolved) == 0 {
		cause := "it has no address"
		if err != nil {
			cause = netx.Readable(err).Error()
		}
		var dns *net.DNSError
		if errors.As(err, &dns) {
			cause = dns.Err // without the name and the server
		}
		return fmt.Sprintf("WEB links need a DNS record of %s that has this machine's address: the name cannot be looked up here, %s", host, cause)
	}
	mine, public := make(map[netip.Addr]bool), false
	for _, own := range m.own {
		mine[own.ip] = true
		public = public || scopeOf(own.ip) == scopePublic
	}
	if ip, err := netip.ParseAddr(r.host); err == nil { // also that of a router
		mine[ip.Unmap()] = true
		public = public || scopeOf(ip.Unmap()) == scopePublic
	} else if r.host != "" {
		others, _ := m.lookup(ctx, r.host)
		for _, ip := range others {
			mine[ip.Unmap()] = true
		}
	}
	var foreign []string
	for _, ip := range resolved {
		if !mine[ip.Unmap()] {
			foreign = append(foreign, ip.Unmap().String())
		}
	}
	slices.Sort(foreign)
	switch {
	case len(foreign) == 0:
		return ""
	case public:
		return fmt.Sprintf("%s of the WEB links leads to %s, which is not this machine's address", host, strings.Join(foreign, " and "))
	}
	return fmt.Sprintf("%s of the WEB links leads to %s, which must forward port 443 to this machine", host, strings.Join(foreign, " and "))
}

// noteCertificate returns what is wrong with the certificate, "" if nothing is.
func (w *website) noteCertificate() string {
	if w == nil {
		return "" // of a proxy that does not run here
	}
	parts := w.parts()
	var expires time.Time
	failure := error(nil)
	switch {
	case parts.files != nil:
		expires = parts.files.Expires()
	case parts.acme != nil:
		expires, failure = parts.acme.State()
	default:
		return ""
	}
	switch {
	case expires.IsZero() && failure == nil:
		return "there is no certificate yet, and WEB clients cannot connect before there is one: it is being requested, which the log tells the result of"
	case expires.IsZero():
		return fmt.Sprintf("there is no certificate yet, and WEB clients cannot connect before there is one: %v", firstLine(failure))
	case time.Now().After(expires) && failure != nil:
		return fmt.Sprintf("the certificate has expired, and WEB clients cannot connect: %v", firstLine(failure))
	case time.Now().After(expires):
		return "the certificate has expired, and WEB clients cannot connect"
	}
	return ""
}

// firstLine returns the first line of an error.
func firstLine(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(text)
}
