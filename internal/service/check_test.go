package service

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service/config"
)

// Check returns all that is wrong, each with its setting.
func TestCheckReturnsAllErrors(t *testing.T) {
	dir := writeFiles(t, map[string]string{"mtwire.toml": `
listen = [":1", ":1"]
max_fronted = -1
drain = -1
[[user]]
name = "alice"
secret = "` + plain(1) + `"
max_addresses = -1
[[user]]
name = "bob"
secret = "` + plain(1) + `"
quota_period = "week"
quota_day = 8
[[user]]
name = "a b"
`})
	c, document, err := LoadFile(filepath.Join(dir, "mtwire.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, err := range Check(c, slog.New(slog.DiscardHandler)) {
		var at *config.Error
		if !errors.As(NameError(err, document), &at) {
			t.Errorf("%v has no position", err)
			continue
		}
		found = append(found, fmt.Sprintf("%d %s", at.Line, at.Key))
	}
	want := []string{"4 drain", "3 max_fronted", "2 listen", "8 user[0].max_addresses", "12 user[1].quota_period", "13 user[1].quota_day",
		"11 user[1].secret", "15 user[2].name", "14 user[2].secret"}
	if !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
}

// wholeConfig is a configuration with users, limits and lists, in which each secret is a
// %s.
const wholeConfig = `
listen = ["127.0.0.1:8443", "127.0.0.1:8444"]
secret = ["zoe=%s"]
secrets = "secrets"
allow = ["allowed"]
block = ["blocked"]
front = ["192.0.2.1:443?proxy-protocol=2"]
dc = ["2=192.0.2.2:443"]
upstream = ["direct?weight=3"]
default_dc = 2
max_unauthenticated_rate = 5
public = "proxy.example.org:443"
log_file = "log"
[[user]]
name = "alice"
secret = "%s"
enabled = false
expires = 2027-01-31
note = "a \"note\"\n"
max_connections = 5
max_addresses = 2
address_window = "1h"
quota = "5 GB"
quota_period = "month"
quota_day = 31
time_zone = "Europe/Berlin"
rate_up = "1 MiB"
rate_down = 1048577
networks = ["192.0.2.0/24", "2001:db8::1"]
[[user]]
name = "bob"
secrets = ["%s", "%s"]
address_window = 0
[[user]]
name = "carol"
secret_file = "carol"
expires = 2027-01-31T12:00:00+01:00
`

// What config show prints decodes to the configuration, once the secrets are in place of
// the placeholders; with these, only they are wrong.
func TestShownConfigurationIsTheSame(t *testing.T) {
	dir := writeFiles(t, map[string]string{"secrets": "yves=" + plain(8), "carol": plain(7), "allowed": "192.0.2.0/24", "blocked": "192.0.2.1"})
	secrets := []any{plain(1), "dd" + plain(2), "ee" + plain(3) + "6578616d706c652e636f6d", plain(4)}
	path := filepath.Join(dir, "mtwire.toml")
	if err := os.WriteFile(path, fmt.Appendf(nil, wholeConfig, secrets...), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	summary, wrong := Examine(c, discard)
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	for _, line := range []string{"users: 5, 1 disabled", "networks: 1 allowed, 1 blocked", "listen: 127.0.0.1:8443, 127.0.0.1:8444", "upstreams: direct"} {
		if !slices.Contains(summary, line) {
			t.Errorf("%q has no %q", summary, line)
		}
	}
	var shown bytes.Buffer
	if err := config.Encode(&shown, c, func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	var all *config.Errors
	if _, err := config.Decode("shown", shown.Bytes(), new(Config)); !errors.As(err, &all) || len(all.All) != len(secrets) {
		t.Fatalf("%v in\n%s", err, shown.String())
	}
	for _, err := range all.All {
		if !errors.Is(err, config.ErrPlaceholder) {
			t.Error(err)
		}
	}
	n := 0
	text := regexp.MustCompile(`[a-z]+:\[redacted\][a-z.:]*`).ReplaceAllStringFunc(shown.String(), func(string) string {
		n++
		return secrets[n-1].(string)
	})
	again := Default()
	if _, err := config.Decode("shown", []byte(text), &again); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if different := config.Different(c, again); len(different) > 0 || !reflect.DeepEqual(c, again) {
		t.Errorf("%v are different in\n%s", different, text)
	}
}

// Check tells what a proxy could not write to, and makes nothing.
func TestCheckFindsWhatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	inTheWay := filepath.Join(dir, "file")
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // the setting, "" for none
	}{
		"a new state directory":  {func(c *Config) { c.State = filepath.Join(dir, "a", "b") }, ""},
		"a file as the state":    {func(c *Config) { c.State = inTheWay }, "state"},
		"a file above the state": {func(c *Config) { c.State = filepath.Join(inTheWay, "a") }, "state"},
		"a new log file":         {func(c *Config) { c.LogFile = filepath.Join(dir, "log") }, ""},
		"a directory as the log": {func(c *Config) { c.LogFile = dir }, "log-file"},
		"a log in no directory":  {func(c *Config) { c.LogFile = filepath.Join(dir, "a", "log") }, "log-file"},
		"a socket":               {func(c *Config) { c.Listen = []ListenAddress{{"unix", filepath.Join(dir, "s")}} }, ""},
		"a file as a socket":     {func(c *Config) { c.Listen = []ListenAddress{{"unix", inTheWay}} }, "listen[0]"},
		"a socket in no directory": {func(c *Config) {
			c.Admin = []AdminAddress{{"unix", ""}, {"unix", filepath.Join(dir, "a", "s")}}
		}, "admin[1]"},
		"a long path of a socket": {func(c *Config) { c.Admin = []AdminAddress{{"unix", "/" + strings.Repeat("x", 200)}} }, "admin[0]"},
	} {
		config := testConfig(t)
		config.State = filepath.Join(dir, "state")
		if err := config.Public.UnmarshalText([]byte("192.0.2.1:443")); err != nil {
			t.Fatal(err)
		}
		c.change(&config)
		wrong := Check(config, discard)
		var setting *ConfigError
		if c.want == "" && len(wrong) > 0 || c.want != "" && (len(wrong) != 1 || !errors.As(wrong[0], &setting) || setting.Setting != c.want) {
			t.Errorf("%s: %v", name, wrong)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		return // whom no mode keeps from writing
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	config := testConfig(t)
	config.State, config.LogFile = filepath.Join(dir, "state"), filepath.Join(dir, "log")
	if wrong := Check(config, slog.New(slog.DiscardHandler)); len(wrong) != 2 {
		t.Error(wrong)
	}
}
