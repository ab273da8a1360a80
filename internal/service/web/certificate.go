package web

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/watch"
)

// Files is a certificate that is read from files, which another program renews.
type Files struct {
	cert, key string
	host      string
	log       *slog.Logger
	watched   watch.Files
	current   atomic.Pointer[tls.Certificate]
}

// LoadFiles reads a certificate chain for host and its key, both in PEM.
func LoadFiles(cert, key, host string, log *slog.Logger) (*Files, error) {
	f := &Files{cert: cert, key: key, host: host, log: log}
	loaded, err := f.load()
	if err != nil {
		return nil, err
	}
	f.current.Store(loaded)
	f.warn(loaded)
	return f, nil
}

// Are reports whether f is of these files, for host. Nil is of none.
func (f *Files) Are(cert, key, host string) bool {
	return f != nil && f.cert == cert && f.key == key && f.host == host
}

// load reads the files.
func (f *Files) load() (*tls.Certificate, error) {
	f.watched.Reading(f.cert, f.key)
	loaded, err := config.ReadKeyPair(f.cert, f.key)
	if err != nil {
		return nil, err
	}
	if err := loaded.Leaf.VerifyHostname(f.host); err != nil {
		return nil, fmt.Errorf("%s: the certificate is for %s, and not for %s", f.cert, names(&loaded), f.host)
	}
	return &loaded, nil
}

// names returns the names of a certificate, for errors.
func names(c *tls.Certificate) string {
	switch n := len(c.Leaf.DNSNames); {
	case n == 0:
		return "no name"
	case n > 3:
		return fmt.Sprintf("%s and %d more", c.Leaf.DNSNames[0], n-1)
	}
	return fmt.Sprint(c.Leaf.DNSNames)
}

// warn warns of a certificate that clients do not accept now.
func (f *Files) warn(c *tls.Certificate) {
	switch now := time.Now(); {
	case now.After(c.Leaf.NotAfter):
		f.log.Warn("the certificate has expired: no client connects to the site", "file", f.cert, "since", c.Leaf.NotAfter)
	case now.Before(c.Leaf.NotBefore):
		f.log.Warn("the certificate is not valid yet: no client connects to the site", "file", f.cert, "before", c.Leaf.NotBefore)
	}
}

// Certificate returns the newest certificate that could be read.
func (f *Files) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.current.Load(), nil
}

// Expires returns when the certificate in force expires.
func (f *Files) Expires() time.Time { return f.current.Load().Leaf.NotAfter }

// Reload reads the files again. After an error the certificate stays as it was.
func (f *Files) Reload() error {
	loaded, err := f.load()
	if err != nil {
		f.log.Warn("the certificate cannot be read again, the one before stays in use", "error", err)
		return err
	}
	if before := f.current.Swap(loaded); !before.Leaf.Equal(loaded.Leaf) {
		f.log.Info("the certificate is renewed", "expires", loaded.Leaf.NotAfter)
	}
	f.warn(loaded)
	return nil
}

// Run reads the files again when they have changed, until ctx ends.
func (f *Files) Run(ctx context.Context) {
	f.watched.Run(ctx, func(string) { f.Reload() })
}
