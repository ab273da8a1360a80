//go:build unix

package service

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/web"
)

// A reload that waits for a FIFO without a writer, in the place of a file with secrets, keeps
// Run from neither draining nor returning, also if an upgrade waits for it.
func TestRunEndsWhileAReloadWaitsForAFIFO(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte("00000000000000000000000000000077\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, withUsers(dir, fileUser("alice", 1, func(u *config.User) { u.SecretFile = path })))
	conn := r.join(t, 1)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reloaded := make(chan error, 1)
	go func() {
		_, err := r.Reload()
		reloaded <- err
	}()
	within(t, "the reload has the lock", func() bool {
		locked := !r.reloading.TryLock()
		if !locked {
			r.reloading.Unlock()
		}
		return locked
	})
	upgraded := make(chan error, 1)
	go func() {
		_, err := r.tryUpgrade(nil, nil)
		upgraded <- err
	}()
	within(t, "the upgrade waits for the reload", func() bool {
		waits := !r.upgrade.running.TryLock()
		if !waits {
			r.upgrade.running.Unlock()
		}
		return waits
	})
	conn.Close()
	r.cancel()
	if err := r.result(t); err != nil {
		t.Error(err)
	}
	if err := <-upgraded; err != errEnding {
		t.Errorf("the upgrade: %v", err)
	}
	writer, err := os.OpenFile(path, os.O_WRONLY, 0) // returns when the reload reads
	if err != nil {
		t.Fatal(err)
	}
	writer.WriteString("no secret")
	writer.Close()
	if err := <-reloaded; err == nil {
		t.Error("no error")
	}
}

// A FIFO without a writer is given up, in the place of each file that a reload reads.
func TestAFIFOInThePlaceOfAFileIsGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	for name, read := range map[string]func() error{
		"configuration": func() error { _, _, err := LoadFile(path); return err },
		"secrets":       func() error { _, err := (&Config{SecretsFile: path}).secretList(log); return err },
		"upstreams":     func() error { _, err := (&Config{UpstreamsFile: path}).upstreamList(log); return err },
		"secret_file": func() error {
			_, err := userSecrets(&config.User{SecretFile: path}, log)
			return err.Err
		},
		"allow": func() error {
			_, _, err := (&Config{Allow: []config.Path{config.Path(path)}}).loadLists()
			return err
		},
		"web_cert": func() error { _, err := web.LoadFiles(path, path, "site.example", log); return err },
	} {
		synctest.Test(t, func(t *testing.T) {
			if err := read(); err == nil || !strings.Contains(err.Error(), "it is a FIFO that no program has written") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// A FIFO in the place of the token's file does not hold up the requests of the admin listener:
// the token before is in force.
func TestTokenDoesNotWaitForAFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(adminTestToken), 0o600); err != nil {
		t.Fatal(err)
	}
	config := testConfig(t)
	config.Admin, config.AdminTokenFile = []AdminAddress{{"tcp4", "127.0.0.1:0"}}, path
	var log bytes.Buffer
	token, err := config.openAdminToken(slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := token.current(); got != adminTestToken {
			t.Errorf("%q", got)
		}
	}
	if strings.Count(log.String(), "no regular file") != 1 {
		t.Error(log.String())
	}
}
