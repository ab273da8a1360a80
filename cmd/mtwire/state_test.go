package main

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

// kept is what loadOrMakeSecret says and logs.
func kept(t *testing.T, dir, domain string) (secret mtproxy.Secret, made bool, log string) {
	t.Helper()
	var text bytes.Buffer
	secret, made, err := loadOrMakeSecret(dir, domain, slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return secret, made, text.String()
}

func notKept(dir, domain string) error {
	_, _, err := loadOrMakeSecret(dir, domain, slog.New(slog.DiscardHandler))
	return err
}

func TestStateDirectoryIsTheFirstThatIsNamed(t *testing.T) {
	for _, test := range []struct{ flag, systemd, xdg, home, want string }{
		{"/flag", "/systemd", "/xdg", "/home/me", "/flag"},
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
		if dir, err := stateDirectory(test.flag); dir != test.want || err != nil {
			t.Errorf("%+v: %q, %v", test, dir, err)
		}
	}
	t.Setenv("HOME", "")
	if _, err := stateDirectory(""); err == nil || !strings.Contains(err.Error(), "--state") {
		t.Errorf("without a home: %v", err)
	}
}

func TestSecretIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	first, made, log := kept(t, dir, "")
	if !made || first.Mode != mtproxy.FakeTLS || first.Domain != defaultDomain || log != "" {
		t.Errorf("%v, new: %t, log %q", first.Redacted(), made, log)
	}
	second, made, log := kept(t, dir, "")
	if made || second != first || log != "" {
		t.Errorf("then %v, new: %t, log %q", second.Redacted(), made, log)
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

func TestSecretIsMadeForTheDomain(t *testing.T) {
	if secret, made, _ := kept(t, t.TempDir(), "example.com"); !made || secret.Domain != "example.com" {
		t.Error(secret.Redacted(), made)
	}
	dir := t.TempDir()
	if err := notKept(dir, "not a domain"); err == nil || !strings.HasPrefix(err.Error(), "--domain: ") {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("for no domain it left %v", entries)
	}
}

// "concurrent first runs must not end with two secrets."
func TestRunsAtOnceEndWithOneSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var mu sync.Mutex
	secrets, makers := map[mtproxy.Secret]int{}, 0
	var runs sync.WaitGroup
	for range 20 {
		runs.Go(func() {
			secret, made, err := loadOrMakeSecret(dir, "", slog.New(slog.DiscardHandler))
			mu.Lock()
			defer mu.Unlock()
			secrets[secret]++
			if made {
				makers++
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	runs.Wait()
	if len(secrets) != 1 || makers != 1 {
		t.Errorf("%d secrets by %d makers", len(secrets), makers)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

// The flag wins, with the same key, and goes no further than its run.
func TestAnotherDomainKeepsTheKey(t *testing.T) {
	dir := t.TempDir()
	first, _, _ := kept(t, dir, "old.example.com")
	other, made, log := kept(t, dir, "new.example.com")
	if made || other.Key != first.Key || other.Domain != "new.example.com" || other.Mode != mtproxy.FakeTLS {
		t.Errorf("%v, new: %t", other.Redacted(), made)
	}
	if !strings.Contains(log, "kept=old.example.com now=new.example.com") || strings.Contains(log, first.String()[2:34]) {
		t.Error(log)
	}
	for _, domain := range []string{"", "old.example.com"} {
		if again, _, log := kept(t, dir, domain); again != first || log != "" {
			t.Errorf("then %v, log %q", again.Redacted(), log)
		}
	}
	if err := notKept(dir, "not a domain"); err == nil || !strings.HasPrefix(err.Error(), "--domain: ") {
		t.Error(err)
	}
}

// A file that an operator wrote is as good.
func TestSecretOfAnyKindIsLoaded(t *testing.T) {
	for _, text := range []string{
		mtwiretest.PlainSecret, mtwiretest.PaddedSecret + "\n", " " + mtwiretest.FakeTLSSecret + "\r\n", "3QABAgMEBQYHCAkKCwwNDg8=\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, secretFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		secret, made, log := kept(t, dir, "")
		if want, _ := mtproxy.ParseSecret(strings.TrimSpace(text)); secret != want || made || log != "" {
			t.Errorf("%q: %v", text, secret)
		}
		if secret, _, _ = kept(t, dir, "example.net"); secret.Domain != "example.net" || secret.Key[15] != 15 {
			t.Errorf("%q, for a domain: %v", text, secret)
		}
	}
}

func TestGarbledSecretIsAnErrorAndStays(t *testing.T) {
	for _, text := range []string{"", "\n", "dd00", mtwiretest.PlainSecret + " " + mtwiretest.PlainSecret, strings.Repeat("0", 1<<20)} {
		dir := t.TempDir()
		path := filepath.Join(dir, secretFile)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := notKept(dir, "")
		if err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), "remove the file") {
			t.Errorf("%.100q: %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), mtwiretest.PlainSecret) {
			t.Errorf("the error says too much: %v", err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("now the file is %.100q, %v", now, err)
		}
	}
}

func TestUnusableStateIsAnErrorThatNamesTheFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := notKept(filepath.Join(file, "state"), ""); err == nil {
		t.Error("a directory in a file")
	}
	if err := unkept(fs.ErrPermission); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "--state") {
		t.Error(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, secretFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := notKept(dir, ""); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a directory in place of the file: %v", err)
	}
}

func TestSecretThatOthersMayReadIsWarnedOf(t *testing.T) {
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
		secret, _, log := kept(t, dir, "")
		if strings.Contains(log, "chmod 600") != warned || strings.Contains(log, mtwiretest.PlainSecret) {
			t.Errorf("%v: %q", mode, log)
		}
		if secret.String() != mtwiretest.FakeTLSSecret {
			t.Errorf("%v: another secret", mode)
		}
	}
}
