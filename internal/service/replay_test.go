package service

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "service")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("STATE_DIRECTORY", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func TestHandshakesAreRememberedByTheNextRun(t *testing.T) {
	dir := t.TempDir()
	for i, want := range []bool{false, true} {
		r := run(t, func(c *Config) { c.State = dir })
		if seen := r.replay.Seen([16]byte{1, 2, 3}); seen != want {
			t.Errorf("run %d: seen is %t", i, seen)
		}
		r.cancel()
		if err := <-r.done; err != nil {
			t.Fatal(err)
		}
	}
}

// An unusable directory is an error if it is configured, and otherwise a warning:
// the proxy works without it.
func TestUnusableStateDirectoryOfConfiguredSecrets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	config := testConfig(t)
	config.State = file
	start := func(log *slog.Logger) error {
		s, err := New(config, log)
		if err != nil {
			return err
		}
		t.Cleanup(s.Close)
		return s.Listen(t.Context())
	}
	var setting *ConfigError
	if err := start(discard); !errors.As(err, &setting) || setting.Setting != "state" {
		t.Errorf("configured: %v", err)
	}
	t.Setenv("STATE_DIRECTORY", file)
	config.State = ""
	var log bytes.Buffer
	if err := start(slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "handshakes are not kept") {
		t.Errorf("log: %s", log.String())
	}
}
