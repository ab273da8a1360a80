package service

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A token is replaced without a restart: in its file, by a new file of the name, and by a
// link that points elsewhere, as Kubernetes does. The one before is refused then.
func TestTokenFollowsItsFile(t *testing.T) {
	var tcp AdminAddress
	var path string
	r := run(t, func(c *Config) {
		adminConfig(t, c)
		path = c.AdminTokenFile
	})
	tcp = AdminAddress{"tcp", r.admin.listeners[1].Addr().String()}
	write := func(path, token string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	other := strings.Repeat("x", len(adminTestToken)+1)
	expect := func(what string, want int) {
		t.Helper()
		if status, body := askAdmin(t, tcp, "/healthz"); status != want {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	expect("at the start", 200)
	write(path, other)
	expect("another token", 401)
	write(path, adminTestToken)
	expect("the first again", 200)
	write(path+".new", other)
	rename(path+".new", path)
	expect("a new file", 401)
	if runtime.GOOS != "windows" {
		dir := filepath.Dir(path)
		write(filepath.Join(dir, "a"), adminTestToken)
		if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		rename(filepath.Join(dir, "link"), path)
		expect("a link", 200)
		write(filepath.Join(dir, "b"), other)
		if err := os.Symlink("b", filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		rename(filepath.Join(dir, "link"), path)
		expect("another link", 401)
	}
}

// While the file is missing, or has no token, the one before is in force, and one warning
// tells it. No line of the log has a token.
func TestBadTokenFileKeepsTheToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(adminTestToken)
	var log bytes.Buffer
	config := testConfig(t)
	config.Admin, config.AdminTokenFile = []AdminAddress{{"tcp4", "127.0.0.1:0"}}, path
	token, err := config.openAdminToken(slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what, want string, warnings int) {
		t.Helper()
		for range 3 {
			if got := token.current(); got != want {
				t.Errorf("%s: %q", what, got)
			}
		}
		if n := strings.Count(log.String(), "level=WARN"); n != warnings {
			t.Errorf("%s: %d warnings\n%s", what, n, log.String())
		}
	}
	expect("at the start", adminTestToken, 0)
	write("short")
	expect("too short", adminTestToken, 1)
	write("two words, and long enough")
	expect("two words", adminTestToken, 2)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("missing", adminTestToken, 3)
	other := strings.Repeat("y", 32)
	write(other)
	expect("there again", other, 3)
	if runtime.GOOS != "windows" {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		expect("readable by others", other, 4)
	}
	for _, secret := range []string{adminTestToken, other, "short\"", "two words"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	if runtime.GOOS != "windows" && !strings.Contains(log.String(), "chmod 600") {
		t.Errorf("no remedy: %s", log.String())
	}
}
