package service

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
)

// tryLoad finds the secret of dir and keeps it, as New and Listen do. generated
// tells that this has made the file.
func tryLoad(dir string, config Config, log *slog.Logger) (k *keptSecret, generated bool, err error) {
	config.State = dir
	if config.Modes == 0 {
		config.Modes = mtproxy.AllModes
	}
	if k, err = findKeptSecret(&config, log); err != nil {
		return nil, false, err
	}
	made := k.secrets[0]
	generated = k.before.Mode == 0
	err = k.keep(&config, log)
	return k, generated && k.secrets[0] == made, err
}

func loadLogged(t *testing.T, dir string, config Config) (*keptSecret, string) {
	t.Helper()
	var text bytes.Buffer
	k, _, err := tryLoad(dir, config, slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return k, text.String()
}

func loadKept(t *testing.T, dir string, config Config) *keptSecret {
	t.Helper()
	k, _ := loadLogged(t, dir, config)
	return k
}

// load returns the first secret of dir, whether it is new, and the log.
func load(t *testing.T, dir string, config Config) (secret mtproxy.Secret, generated bool, log string) {
	t.Helper()
	k, log := loadLogged(t, dir, config)
	return k.secrets[0], strings.Contains(log, "made a secret"), log
}

// loadError returns the error of tryLoad.
func loadError(dir string, config Config) error {
	_, _, err := tryLoad(dir, config, discard)
	return err
}

func writeSecret(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, secretFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// redacted returns the secrets without their keys.
func redacted(secrets []mtproxy.Secret) (texts []string) {
	for _, secret := range secrets {
		texts = append(texts, secret.Redacted())
	}
	return texts
}

func TestSecretIsGeneratedOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	first, generated, log := load(t, dir, Config{})
	if !generated || first.Mode != mtproxy.FakeTLS || first.Domain != DefaultDomain || !strings.Contains(log, "made a secret") {
		t.Errorf("%v, new: %t, log %q", first.Redacted(), generated, log)
	}
	second, generated, log := load(t, dir, Config{})
	if generated || second != first || log != "" {
		t.Errorf("then %v, new: %t, log %q", second.Redacted(), generated, log)
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, secretFile): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("beside the secret: %v, %v", entries, err)
	}
}

func TestSecretIsGeneratedForTheDomain(t *testing.T) {
	if secret, generated, _ := load(t, t.TempDir(), Config{Domain: "example.com"}); !generated || secret.Domain != "example.com" {
		t.Error(secret.Redacted(), generated)
	}
	dir := t.TempDir()
	if err := loadError(dir, Config{Domain: "not a domain"}); err == nil || !strings.HasPrefix(err.Error(), "domain: ") {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("the directory has %v", entries)
	}
}

// Concurrent first runs generate one secret.
func TestConcurrentRunsEndWithOneSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var mu sync.Mutex
	secrets, generators := map[mtproxy.Secret]int{}, 0
	var runs sync.WaitGroup
	for range 20 {
		runs.Go(func() {
			k, generated, err := tryLoad(dir, Config{}, discard)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			secrets[k.secrets[0]]++
			if generated {
				generators++
			}
		})
	}
	runs.Wait()
	if len(secrets) != 1 || generators != 1 {
		t.Errorf("%d secrets, %d runs that generated one", len(secrets), generators)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

// While no client has used the secret, the settings change it. Afterwards links with
// the secret before go on working.
func TestSettingsChangeTheKeptSecret(t *testing.T) {
	dir := t.TempDir()
	first, _, _ := load(t, dir, Config{Domain: "typo.example.com"})
	unused := loadKept(t, dir, Config{Domain: "first.example.com"})
	if len(unused.secrets) != 1 || unused.secrets[0].Domain != "first.example.com" || unused.secrets[0].Key != first.Key {
		t.Errorf("unused: %v", redacted(unused.secrets))
	}
	if again := loadKept(t, dir, Config{}); !slices.Equal(again.secrets, unused.secrets) {
		t.Errorf("without a domain: %v", redacted(again.secrets))
	}
	unused.markUsed(discard)

	// Each line is the domain of a run and the domains that clients may have then.
	// No client uses the secret in these runs.
	for _, run := range []struct{ domain, want string }{
		{"second.example.com", "second first"},
		{"", "second first"},
		{"third.example.com", "third first"},
		{"first.example.com", "first"},
		{"fourth.example.com", "fourth first"},
	} {
		k, log := loadLogged(t, dir, Config{Domain: Domain(run.domain)})
		var domains []string
		for _, secret := range k.users()[0].Secrets {
			domains = append(domains, strings.TrimSuffix(secret.Domain, ".example.com"))
			if secret.Key != first.Key {
				t.Error("another key")
			}
		}
		if got := strings.Join(domains, " "); got != run.want || strings.Contains(log, "WARN") || strings.Contains(log, first.String()[2:34]) {
			t.Errorf("%q: %s, log %s", run.domain, got, log)
		}
		if again, log := loadLogged(t, dir, Config{Domain: Domain(run.domain)}); !slices.Equal(again.secrets, k.secrets) || log != "" {
			t.Errorf("%q, again: %v, log %s", run.domain, redacted(again.secrets), log)
		}
	}
	if err := loadError(dir, Config{Domain: "not a domain"}); err == nil || !strings.HasPrefix(err.Error(), "domain: ") {
		t.Error(err)
	}
}

// The generated secret allows one of the modes, on the first run and later.
func TestKeptSecretFollowsTheModes(t *testing.T) {
	for modes, want := range map[mtproxy.Modes]mtproxy.Mode{
		mtproxy.Classic: mtproxy.Plain, mtproxy.DD: mtproxy.Padded, mtproxy.EE: mtproxy.FakeTLS,
		mtproxy.Classic | mtproxy.DD: mtproxy.Padded, mtproxy.Classic | mtproxy.EE: mtproxy.FakeTLS, mtproxy.AllModes: mtproxy.FakeTLS,
	} {
		dir := t.TempDir()
		if k := loadKept(t, dir, Config{Modes: modes}); k.secrets[0].Mode != want {
			t.Errorf("%v, first run: %v", modes, redacted(k.secrets))
		}
		dir = t.TempDir()
		before := loadKept(t, dir, Config{})
		if k := loadKept(t, dir, Config{Modes: modes}); k.secrets[0].Mode != want || k.secrets[0].Key != before.secrets[0].Key || len(k.secrets) != 1 {
			t.Errorf("%v, later: %v", modes, redacted(k.secrets))
		}
	}
	if err := loadError(t.TempDir(), Config{Modes: mtproxy.Classic | mtproxy.DD, Domain: "example.com"}); err == nil || !strings.HasPrefix(err.Error(), "domain: only an ee secret has one") {
		t.Error(err)
	}
}

// A secret that clients use and the modes exclude is warned of once, and works again
// when they allow it.
func TestModesExcludeASecretInUse(t *testing.T) {
	dir := t.TempDir()
	ee := loadKept(t, dir, Config{})
	ee.markUsed(discard)
	for i, warned := range []bool{true, false} {
		k, log := loadLogged(t, dir, Config{Modes: mtproxy.DD})
		if users := k.users(); len(users[0].Secrets) != 1 || users[0].Secrets[0].Mode != mtproxy.Padded || strings.Contains(log, "WARN") != warned {
			t.Errorf("run %d: %v, log %s", i, redacted(k.secrets), log)
		}
	}
	if k := loadKept(t, dir, Config{}); !slices.Contains(k.users()[0].Secrets, ee.secrets[0]) {
		t.Errorf("then %v", redacted(k.secrets))
	}
}

// Of two secrets with the same key, clients may have the one that allows more:
// package proxy refuses both.
func TestKeptSecretsThatDifferInTheMode(t *testing.T) {
	dir := t.TempDir()
	writeSecret(t, dir, mtwiretest.PaddedSecret+"\n"+mtwiretest.PlainSecret+"\n")
	if secrets := loadKept(t, dir, Config{}).users()[0].Secrets; len(secrets) != 1 || secrets[0].Mode != mtproxy.Plain {
		t.Errorf("%v", redacted(secrets))
	}
}

// The number of secrets that are kept is bounded.
func TestFewSecretsAreKept(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 * maxKept {
		k := loadKept(t, dir, Config{Domain: Domain(fmt.Sprintf("%d.example.com", i))})
		if len(k.secrets) != min(i+1, maxKept) {
			t.Fatalf("%d of %d", len(k.secrets), i+1)
		}
		k.markUsed(discard)
	}
}

// An operator may write the file.
func TestSecretOfAnyModeIsLoaded(t *testing.T) {
	for _, text := range []string{
		mtwiretest.PlainSecret, mtwiretest.PaddedSecret + "\n", " " + mtwiretest.FakeTLSSecret + "\r\n", "3QABAgMEBQYHCAkKCwwNDg8=\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, secretFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		secret, generated, log := load(t, dir, Config{})
		if want, _ := mtproxy.ParseSecret(strings.TrimSpace(text)); secret != want || generated || log != "" {
			t.Errorf("%q: %v", text, secret)
		}
		if secret, _, _ = load(t, dir, Config{Domain: "example.net"}); secret.Domain != "example.net" || secret.Key[15] != 15 {
			t.Errorf("%q, for a domain: %v", text, secret)
		}
	}
}

func TestInvalidSecretFileIsAnErrorAndStays(t *testing.T) {
	for _, text := range []string{"", "\n", "dd00", mtwiretest.PlainSecret + " " + mtwiretest.PlainSecret, strings.Repeat("0", 1<<20)} {
		dir := t.TempDir()
		path := filepath.Join(dir, secretFile)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := loadError(dir, Config{})
		if err == nil || !strings.HasPrefix(err.Error(), "state: "+path+": ") || !strings.Contains(err.Error(), "remove the file") {
			t.Errorf("%.100q: %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), mtwiretest.PlainSecret) {
			t.Errorf("the error quotes the secret: %v", err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("now the file is %.100q, %v", now, err)
		}
	}
}

func TestUnusableStateIsAnErrorWithARemedy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := loadError(filepath.Join(file, "state"), Config{}); err == nil {
		t.Error("a directory in a file")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, secretFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := loadError(dir, Config{}); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a directory in place of the file: %v", err)
	}
}

func TestReadableSecretFileIsWarnedOf(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // no such bits
	}
	dir := t.TempDir()
	path := filepath.Join(dir, secretFile)
	if err := os.WriteFile(path, []byte(mtwiretest.FakeTLSSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, warned := range map[fs.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o644: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		secret, _, log := load(t, dir, Config{})
		if strings.Contains(log, "chmod 600") != warned || strings.Contains(log, mtwiretest.PlainSecret) {
			t.Errorf("%v: %q", mode, log)
		}
		if secret.String() != mtwiretest.FakeTLSSecret {
			t.Errorf("%v: another secret", mode)
		}
	}
}

// A configuration that does not work leaves nothing in the file system, whatever is
// wrong with it.
func TestNothingIsKeptBeforeTheServiceListens(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, change := range map[string]func(*Config){
		"setting": func(c *Config) { c.DialTimeout = 0 },
		"fronting host": func(c *Config) {
			c.Modes, c.Fronts = mtproxy.DD, []FrontAddress{{Front: proxy.Front{Address: "unix:/site"}}}
		},
		"address": func(c *Config) { c.Listen = append(c.Listen, ListenAddress{"tcp4", taken.Addr().String()}) },
	} {
		config := testConfig(t)
		config.Secrets, config.State = nil, filepath.Join(t.TempDir(), "state")
		change(&config)
		s, err := New(config, discard)
		if err == nil {
			t.Cleanup(s.Close)
			err = s.Listen(t.Context())
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := os.Stat(config.State); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the directory is there: %v", name, err)
		}
	}
}

// The first client that is authenticated marks the secret as used, and a probe does
// not.
func TestAuthenticatedClientsMarkTheSecret(t *testing.T) {
	dir := t.TempDir()
	for _, connects := range []bool{false, true} {
		r := run(t, func(c *Config) { c.Secrets, c.State, c.Modes = nil, dir, mtproxy.DD })
		if connects {
			r.connect(t)
		} else if conn, err := net.Dial("tcp", r.Addresses()[0].String()); err == nil {
			conn.Write(make([]byte, 64))
			conn.Close()
		}
		r.cancel()
		if err := r.result(t); err != nil {
			t.Fatal(err)
		}
		if used := isUsed(dir, r.limited[0].Secrets[0]); used != connects {
			t.Errorf("used is %t, want %t", used, connects)
		}
	}
}
