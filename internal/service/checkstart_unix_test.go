//go:build unix

package service

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// warningsOf collects the texts of warnings and errors of a log.
type warningsOf map[string]bool

func (w warningsOf) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (w warningsOf) WithAttrs([]slog.Attr) slog.Handler               { return w }
func (w warningsOf) WithGroup(string) slog.Handler                    { return w }

func (w warningsOf) Handle(_ context.Context, r slog.Record) error {
	w[r.Message] = true
	return nil
}

// settingsOf returns the settings that errors are about, without the index in a list.
func settingsOf(errs ...error) (settings []string) {
	for _, err := range errs {
		var setting *ConfigError
		name := "none"
		if errors.As(err, &setting) {
			name, _, _ = strings.Cut(setting.Setting, "[")
		}
		if err != nil && !slices.Contains(settings, name) {
			settings = append(settings, name)
		}
	}
	slices.Sort(settings)
	return settings
}

// --check refuses what the proxy does not start with, for the same setting, and nothing else. Of
// the rest both warn in the same words.
func TestCheckAndStartAgree(t *testing.T) {
	const (
		notRemembered = "handshakes are not kept, and are answered if they are replayed after a restart"
		notCounted    = "the store is not written: users' usage is kept in memory, and is lost with the process"
		noAdmin       = "there is no admin listener, which mtwire user needs: " +
			"--admin unix:/PATH sets another address, and --admin off ends this warning"
		noUsers = "the users that were added at run time are missing: their file cannot be read"
		noToken = "the token is not used: no address of the admin listener is on TCP"
	)
	file := func(path string) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("?"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	directory := func(path string) {
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	inState := func(c *Config, name string) string { return filepath.Join(c.State, name) }
	byDefault := func(c *Config) {
		t.Setenv("STATE_DIRECTORY", c.State)
		c.State = ""
	}
	unix := func(path string) []ListenAddress { return []ListenAddress{{"unix", path}} }
	for name, test := range map[string]struct {
		change   func(c *Config) // whose state directory is missing
		setting  string          // "" if the proxy starts
		warnings []string
	}{
		"nothing is there":    {func(*Config) {}, "", nil},
		"a generated secret":  {func(c *Config) { c.Secrets = nil }, "", nil},
		"a file as the state": {func(c *Config) { file(c.State) }, "state", nil},
		"a file above it":     {func(c *Config) { file(c.State); c.State = inState(c, "a") }, "state", nil},
		"a file as the state by default": {func(c *Config) { file(c.State); byDefault(c) }, "",
			[]string{notRemembered, notCounted, noUsers}},
		"that and a generated secret": {func(c *Config) { file(c.State); byDefault(c); c.Secrets = nil }, "state", nil},
		"a file as the handshakes":    {func(c *Config) { file(inState(c, replayDir)) }, "state", nil},
		"a file as these, by default": {func(c *Config) { file(inState(c, replayDir)); byDefault(c) }, "",
			[]string{notRemembered}},
		"a file as the store":        {func(c *Config) { file(inState(c, storeDir)) }, "", []string{notCounted, noUsers}},
		"a secret that is none":      {func(c *Config) { c.Secrets = nil; file(inState(c, secretFile)) }, "state", nil},
		"an added user that is none": {func(c *Config) { c.Secrets = nil; file(inState(c, usersFile)) }, "state", nil},
		"a file as the certificates": {func(c *Config) { c.Web = webHost; file(inState(c, acmeDir)) }, "state", nil},
		"a directory as the key of WEB sessions": {func(c *Config) {
			c.Web = webHost
			directory(inState(c, webTokenFile))
		}, "state", nil},
		"a key without its certificate": {func(c *Config) { c.Web, c.WebKey = webHost, "key" }, "web-cert", nil},
		"another certificate's key": {func(c *Config) {
			directory(inState(c, "2"))
			c.Web = webHost
			c.WebCert, _ = writeCertificate(t, c.State, 1, x509.NewCertPool())
			_, c.WebKey = writeCertificate(t, inState(c, "2"), 2, x509.NewCertPool())
		}, "web-cert", nil},
		"no directory of the site": {func(c *Config) { c.Web, c.WebSite = webHost, inState(c, "site") }, "web-site", nil},
		"no directory of a socket": {func(c *Config) { c.Listen = unix(inState(c, "a/s")) }, "listen", nil},
		"a file as a socket": {func(c *Config) {
			file(inState(c, "s"))
			c.Listen = unix(inState(c, "s"))
		}, "listen", nil},
		"no directory of a web server's socket": {func(c *Config) {
			c.Web, c.WebListen = webHost, unix(inState(c, "a/s"))
		}, "web-listen", nil},
		"one address for clients and a web server": {func(c *Config) {
			c.Listen = []ListenAddress{{"tcp4", freeAddress(t)}}
			c.Web, c.WebListen = webHost, c.Listen
		}, "web-listen", nil},
		"an address of a web server twice": {func(c *Config) {
			address := ListenAddress{"tcp4", freeAddress(t)}
			c.Web, c.WebListen = webHost, []ListenAddress{address, address}
		}, "web-listen", nil},
		"one address for operators and a web server": {func(c *Config) {
			directory(c.State)
			c.Web, c.WebListen = webHost, unix(inState(c, "s"))
			c.Admin = []AdminAddress{{"unix", inState(c, "s")}}
		}, "web-listen", nil},
		"the admin socket": {func(c *Config) { c.Admin = nil }, "", nil},
		"a file as the admin socket": {func(c *Config) { c.Admin = nil; file(inState(c, adminSocket)) }, "",
			[]string{noAdmin}},
		"a long path of the admin socket": {func(c *Config) {
			c.Admin, c.State = nil, inState(c, strings.Repeat("x", 200))
		}, "", []string{noAdmin}},
		"no directory of the admin socket": {func(c *Config) {
			c.Admin = nil
			t.Setenv("RUNTIME_DIRECTORY", c.State)
			c.State = ""
		}, "", []string{noAdmin}},
		"a file as the admin socket that is configured": {func(c *Config) {
			c.Admin = []AdminAddress{{Network: "unix"}}
			file(inState(c, adminSocket))
		}, "admin", nil},
		"no token": {func(c *Config) { c.Admin = []AdminAddress{{"tcp4", "127.0.0.1:0"}} },
			"admin-token-file", nil},
		"a token that no listener needs": {func(c *Config) { c.AdminTokenFile = inState(c, "token") }, "", []string{noToken}},
		"no file of secrets":             {func(c *Config) { c.SecretsFile = inState(c, "secrets") }, "secrets", nil},
		"no file of upstreams":           {func(c *Config) { c.UpstreamsFile = inState(c, "upstreams") }, "upstreams", nil},
	} {
		t.Run(name, func(t *testing.T) {
			prepared := func() Config {
				c := testConfig(t)
				c.MaxUnauthenticated, c.MaxFronted = 2, 1 // which no limit of descriptors exceeds
				c.State = filepath.Join(shortState(t), "state")
				t.Setenv("RUNTIME_DIRECTORY", "")
				c.Public = PublicAddress{Host: "proxy.example.org", Port: 443}
				test.change(&c)
				return c
			}
			checked, started := make(warningsOf), make(warningsOf)
			wrong := Check(prepared(), slog.New(checked))
			s, err := New(prepared(), slog.New(started))
			if err == nil {
				err = s.Listen(t.Context())
				s.Close()
			}
			var want []string
			if test.setting != "" {
				want = []string{test.setting}
			}
			if got := settingsOf(wrong...); !slices.Equal(got, want) {
				t.Errorf("--check: %v, want %v: %v", got, want, wrong)
			}
			if got := settingsOf(err); !slices.Equal(got, want) {
				t.Errorf("the start: %v, want %v: %v", got, want, err)
			}
			if want != nil {
				return
			}
			slices.Sort(test.warnings)
			for by, got := range map[string]warningsOf{"--check": checked, "the start": started} {
				if got := slices.Sorted(maps.Keys(got)); !slices.Equal(got, test.warnings) {
					t.Errorf("%s: %q, want %q", by, got, test.warnings)
				}
			}
		})
	}
}
