package service

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// load returns the results of loadOrGenerateSecret, and its log.
func load(t *testing.T, dir, domain string) (secret mtproxy.Secret, generated bool, log string) {
	t.Helper()
	var text bytes.Buffer
	secret, generated, err := loadOrGenerateSecret(dir, domain, slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return secret, generated, text.String()
}

// loadError returns the error of loadOrGenerateSecret.
func loadError(dir, domain string) error {
	_, _, err := loadOrGenerateSecret(dir, domain, slog.New(slog.DiscardHandler))
	return err
}

func TestStateDirectoryIsTheFirstThatIsSet(t *testing.T) {
	for _, test := range []struct{ configured, systemd, xdg, home, want string }{
		{"/configured", "/systemd", "/xdg", "/home/me", "/configured"},
		{"relative", "", "", "", "relative"},
		{"", "/systemd", "/xdg", "/home/me", "/systemd"},
		{"", "/systemd:/second", "", "", "/systemd"},
		{"", "", "/xdg", "/home/me", "/xdg/mtwire"},
		{"", "", "relative", "/home/me", "/home/me/.local/state/mtwire"},
		{"", "", "", "/home/me", "/home/me/.local/state/mtwire"},
	} {
		t.Setenv("STATE_DIRECTORY", test.systemd)
		t.Setenv("XDG_STATE_HOME", test.xdg)
		t.Setenv("HOME", test.home)
		if dir, err := stateDirectory(test.configured); dir != test.want || err != nil {
			t.Errorf("%+v: %q, %v", test, dir, err)
		}
	}
	t.Setenv("HOME", "")
	if _, err := stateDirectory(""); err == nil || !strings.Contains(err.Error(), "state: no directory") {
		t.Errorf("without a home: %v", err)
	}
}

func TestSecretIsGeneratedOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	first, generated, log := load(t, dir, "")
	if !generated || first.Mode != mtproxy.FakeTLS || first.Domain != DefaultDomain || log != "" {
		t.Errorf("%v, new: %t, log %q", first.Redacted(), generated, log)
	}
	second, generated, log := load(t, dir, "")
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
	if secret, generated, _ := load(t, t.TempDir(), "example.com"); !generated || secret.Domain != "example.com" {
		t.Error(secret.Redacted(), generated)
	}
	dir := t.TempDir()
	if err := loadError(dir, "not a domain"); err == nil || !strings.HasPrefix(err.Error(), "domain: ") {
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
			secret, generated, err := loadOrGenerateSecret(dir, "", slog.New(slog.DiscardHandler))
			mu.Lock()
			defer mu.Unlock()
			secrets[secret]++
			if generated {
				generators++
			}
			if err != nil {
				t.Error(err)
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

// The configured domain replaces the kept one, with the same key, for one run.
func TestAnotherDomainKeepsTheKey(t *testing.T) {
	dir := t.TempDir()
	first, _, _ := load(t, dir, "old.example.com")
	other, generated, log := load(t, dir, "new.example.com")
	if generated || other.Key != first.Key || other.Domain != "new.example.com" || other.Mode != mtproxy.FakeTLS {
		t.Errorf("%v, new: %t", other.Redacted(), generated)
	}
	if !strings.Contains(log, "kept=old.example.com now=new.example.com") || strings.Contains(log, first.String()[2:34]) {
		t.Error(log)
	}
	for _, domain := range []string{"", "old.example.com"} {
		if again, _, log := load(t, dir, domain); again != first || log != "" {
			t.Errorf("then %v, log %q", again.Redacted(), log)
		}
	}
	if err := loadError(dir, "not a domain"); err == nil || !strings.HasPrefix(err.Error(), "domain: ") {
		t.Error(err)
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
		secret, generated, log := load(t, dir, "")
		if want, _ := mtproxy.ParseSecret(strings.TrimSpace(text)); secret != want || generated || log != "" {
			t.Errorf("%q: %v", text, secret)
		}
		if secret, _, _ = load(t, dir, "example.net"); secret.Domain != "example.net" || secret.Key[15] != 15 {
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
		err := loadError(dir, "")
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
	if err := loadError(filepath.Join(file, "state"), ""); err == nil {
		t.Error("a directory in a file")
	}
	if err := notKept(fs.ErrPermission); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "choose another directory") {
		t.Error(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, secretFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := loadError(dir, ""); err == nil || !strings.Contains(err.Error(), "directory") {
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
		secret, _, log := load(t, dir, "")
		if strings.Contains(log, "chmod 600") != warned || strings.Contains(log, mtwiretest.PlainSecret) {
			t.Errorf("%v: %q", mode, log)
		}
		if secret.String() != mtwiretest.FakeTLSSecret {
			t.Errorf("%v: another secret", mode)
		}
	}
}
