package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

const adminTestToken = "0123456789abcdef0123456789abcdef"

// ask sends GET to an admin listener, with the token, and returns the status and the
// body.
func askAdmin(t *testing.T, address AdminAddress, path string) (int, string) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, address.Network, address.Address)
	}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminTestToken)
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// adminConfig sets both kinds of admin listener, with a token in a file.
func adminConfig(t *testing.T, c *Config) {
	t.Helper()
	c.State = t.TempDir()
	c.Admin = []AdminAddress{{"unix", ""}, {"tcp4", "127.0.0.1:0"}}
	c.AdminTokenFile = filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(c.AdminTokenFile, []byte(adminTestToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The admin listener serves metrics of the proxy, and readiness until the proxy drains.
// Its socket is in the state directory, only its owner can use it, and it is gone in the
// end.
func TestAdminListenerServesMetricsAndReadiness(t *testing.T) {
	sessionsStay(t)
	var socket string
	r := run(t, func(c *Config) {
		adminConfig(t, c)
		socket = filepath.Join(c.State, "admin.sock")
	})
	info, err := os.Stat(socket)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	tcp := AdminAddress{"tcp", r.admin.listeners[1].Addr().String()}
	unix := AdminAddress{"unix", socket}
	conn := r.connect(t)
	within(t, "the proxy knows that the data centre has answered", func() bool {
		status, _ := askAdmin(t, unix, "/readyz")
		return status == 200
	})
	for _, address := range []AdminAddress{unix, tcp} {
		status, body := askAdmin(t, address, "/metrics")
		if status != 200 || !strings.Contains(body, "\nmtwire_connections_authenticated_total 1\n") ||
			!strings.Contains(body, `mtwire_user_connections{user="alice"} 1`) || !strings.Contains(body, "\nprocess_open_fds ") && runtime.GOOS == "linux" {
			t.Errorf("%v: %d %s", address, status, body)
		}
		if status, body := askAdmin(t, address, "/readyz"); status != 200 || body != "ready\n" {
			t.Errorf("%v: %d %s", address, status, body)
		}
		if status, body := askAdmin(t, address, "/healthz"); status != 200 || body != "ok\n" {
			t.Errorf("%v: %d %s", address, status, body)
		}
	}
	r.cancel() // it drains, and the session goes on
	within(t, "a proxy that drains is not ready", func() bool {
		status, body := askAdmin(t, unix, "/readyz")
		return status == 503 && strings.Contains(body, "does not accept")
	})
	conn.Close()
	if err := r.result(t); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the end: %v", err)
	}
}

// Without clients /readyz has a data centre asked, and answers meanwhile that nothing is
// known; then it has the result, with the reason if none answers. The probes at the start
// count as well.
func TestReadinessWithoutClientsAsksADataCenter(t *testing.T) {
	for _, probe := range []bool{true, false} {
		for _, there := range []bool{true, false} {
			var socket string
			r := run(t, func(c *Config) {
				c.Probe = probe
				adminConfig(t, c)
				socket = filepath.Join(c.State, "admin.sock")
				if !there {
					c.DataCenters = []DataCenterAddress{{0, freeAddress(t)}}
				}
			})
			if probe {
				<-r.Probed()
				if err := r.admin.readiness.Check(); err != nil == there {
					t.Errorf("after the probes of the start, %t: %v", there, err)
				}
			}
			var status int
			var body string
			for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
				status, body = askAdmin(t, AdminAddress{"unix", socket}, "/readyz")
				if status == 200 || !strings.Contains(body, "being asked") || time.Now().After(deadline) {
					break
				}
			}
			if there && status != 200 || !there && (status != 503 || !strings.Contains(body, "no data centre can be reached")) {
				t.Errorf("%t, %t: %d %s", probe, there, status, body)
			}
			r.Close()
		}
	}
}

// Reloads are counted by their result.
func TestReloadsAreCounted(t *testing.T) {
	secrets := filepath.Join(t.TempDir(), "secrets")
	write := func(text string) {
		if err := os.WriteFile(secrets, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("alice=" + mtwiretest.PlainSecret)
	var socket string
	r := run(t, func(c *Config) {
		adminConfig(t, c)
		socket = filepath.Join(c.State, "admin.sock")
		c.Secrets, c.SecretsFile = nil, secrets
	})
	r.Reload()
	write("alice=nothing")
	if _, err := r.Reload(); err == nil {
		t.Error("no error")
	}
	_, body := askAdmin(t, AdminAddress{"unix", socket}, "/metrics")
	for _, line := range []string{
		`mtwire_reloads_total{result="success"} 1`, `mtwire_reloads_total{result="error"} 1`, `mtwire_last_reload_successful 0`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("%s is missing", line)
		}
	}
}

// The API changes the level of the log, and adds users, who can connect at once and are
// there after a restart.
func TestAPIChangesTheRunningProxy(t *testing.T) {
	var socket string
	var level slog.LevelVar
	var state string
	r := run(t, func(c *Config) {
		adminConfig(t, c)
		c.Level, state = &level, c.State
		socket = filepath.Join(c.State, "admin.sock")
	})
	send := func(method, path, body string) (int, string) {
		t.Helper()
		return requestAdmin(t, socket, method, path, body)
	}
	if status, body := send("PUT", "log-level", `{"level": "debug"}`); status != 200 || level.Level() != slog.LevelDebug {
		t.Error(status, body, level.Level())
	}
	if status, body := send("POST", "reload", ""); status != 200 || !strings.Contains(body, "false") {
		t.Error(status, body)
	}
	status, body := send("POST", "users", `{"name": "bob", "max_connections": 1}`)
	if status != 201 || r.userNames() != "alice bob" {
		t.Fatal(status, body, r.userNames())
	}
	if status, body := send("POST", "users", `{"name": "alice"}`); status != 409 {
		t.Error(status, body)
	}
	if status, body := send("PATCH", "users/alice", `{"note": "x"}`); status != 409 || !strings.Contains(body, "configuration") {
		t.Error(status, body)
	}
	if status, rotated := send("POST", "users/bob/rotate", ""); status != 200 || !strings.Contains(rotated, `"secrets":["`) || rotated == body {
		t.Error(status, rotated)
	}
	if status, body := send("GET", "status", ""); status != 200 || !strings.Contains(body, `"unauthenticated_per_address":`) ||
		!strings.Contains(body, `"store":{"directory":"`+filepath.Join(state, "store")) {
		t.Error(status, body)
	}
	r.connect(t)
	if status, body := send("GET", "sessions?user=alice", ""); status != 200 || strings.Count(body, `"id"`) != 1 {
		t.Error(status, body)
	}
	if status, body := send("GET", "users/alice/usage", ""); status != 200 || !strings.Contains(body, `"connections":1`) {
		t.Error(status, body)
	}
	if status, body := send("DELETE", "sessions?user=alice", ""); status != 200 || body != "{\"closed\":1}\n" {
		t.Error(status, body)
	}
	r.cancel()
	if err := r.result(t); err != nil {
		t.Error(err)
	}
	again := testConfig(t)
	again.State = state
	s, err := New(again, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if users := s.proxy.Users(); len(users) != 2 || users[1].Name != "bob" {
		t.Errorf("after a restart: %v", users)
	}
}

// A user that the proxy cannot use is a fault of the request, and no error of the proxy.
func TestAPIRefusesUsersThatTheProxyCannotUse(t *testing.T) {
	var socket string
	r := run(t, func(c *Config) {
		adminConfig(t, c)
		c.Modes, socket = mtproxy.DD, filepath.Join(c.State, "admin.sock")
	})
	const key = "00112233445566778899aabbccddeeff"
	for secrets, want := range map[string]int{`"ee` + key + `612e6578616d706c65"`: 422, `"dd` + key + `", "` + key + `"`: 409} {
		status, body := requestAdmin(t, socket, "POST", "users", `{"name": "bob", "secrets": [`+secrets+`]}`)
		if status != want || strings.Contains(body, key) || want == 409 && !strings.Contains(body, "twice") {
			t.Error(status, body)
		}
	}
	if log := r.log.String(); strings.Contains(log, "level=ERROR") || r.userNames() != "alice" {
		t.Error(log, r.userNames())
	}
}

// A socket that a dead process has left is replaced, and that of a process that runs is
// not, unless both share their addresses: then the new process has the name.
func TestAdminSocketIsTakenOverSafely(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Unix sockets of dead processes, which Windows does not tell")
	}
	path := filepath.Join(t.TempDir(), "a.sock")
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	r := run(t, func(c *Config) {
		c.ReusePort = runtime.GOOS == "linux"
		c.Admin = []AdminAddress{{"unix", path}}
	})
	second := testConfig(t)
	second.Admin = []AdminAddress{{"unix", path}}
	s, err := New(second, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var wrong *ConfigError
	if err := s.Listen(t.Context()); !errors.As(err, &wrong) || wrong.Setting != "admin" {
		t.Errorf("beside a process that runs: %v", err)
	}
	if status, _ := askAdmin(t, AdminAddress{"unix", path}, "/healthz"); status != 200 {
		t.Error("the first process does not answer")
	}
	if runtime.GOOS != "linux" {
		return
	}
	beside := run(t, func(c *Config) {
		c.ReusePort = true
		c.Admin = []AdminAddress{{"unix", path}}
	})
	r.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	if status, _ := askAdmin(t, AdminAddress{"unix", path}, "/healthz"); status != 200 {
		t.Error("the new process does not answer")
	}
	beside.Close()
}

// An admin listener on TCP needs a token, also on loopback, and one that is long enough.
func TestAdminOverTCPNeedsAToken(t *testing.T) {
	t.Setenv(tokenVariable, "")
	for name, token := range map[string]string{
		"none": "", "short": "secret", "two lines": adminTestToken + "\n" + adminTestToken, "long": strings.Repeat("x", 2000),
	} {
		config := testConfig(t)
		config.Admin = []AdminAddress{{"tcp4", "127.0.0.1:0"}}
		if name != "none" {
			config.AdminTokenFile = filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(config.AdminTokenFile, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var wrong *ConfigError
		if _, err := New(config, discard); !errors.As(err, &wrong) || wrong.Setting != "admin-token-file" || token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var log logBuffer
	config := testConfig(t)
	config.Admin = []AdminAddress{{"tcp4", "0.0.0.0:0"}}
	t.Setenv(tokenVariable, adminTestToken)
	s, err := New(config, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Listen(t.Context()); err != nil || !strings.Contains(log.String(), "without encryption") {
		t.Errorf("%v, %s", err, log.String())
	}
}

// Addresses have a port, and unix alone is the default socket.
func TestAdminAddresses(t *testing.T) {
	for text, want := range map[string]AdminAddress{
		"unix": {"unix", ""}, "unix:/run/a.sock": {"unix", "/run/a.sock"}, "127.0.0.1:9100": {"tcp4", "127.0.0.1:9100"}, ":9100": {"tcp", ":9100"},
	} {
		var got AdminAddress
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "unix:", "unix:a.sock", "127.0.0.1", "9100", "localhost:x"} {
		if err := new(AdminAddress).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	for _, admin := range [][]AdminAddress{
		{{"unix", "/a"}, {"unix", "/a"}}, {{"tcp4", "127.0.0.1:443"}},
	} {
		config := testConfig(t)
		config.Admin = admin
		config.Listen = []ListenAddress{{"tcp4", "127.0.0.1:443"}}
		var wrong *ConfigError
		if err := config.check(); !errors.As(err, &wrong) || wrong.Setting != "admin" {
			t.Errorf("%v: %v", admin, err)
		}
	}
}

// requestAdmin makes a request of JSON to the API below /v1/, and returns the status and the body of
// the answer.
func requestAdmin(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://localhost/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}
