//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clientOf returns an HTTP client for an admin listener's socket.
func clientOf(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
}

// awaitSocket waits until a process listens on an admin socket, whose file is there before that.
func awaitSocket(t *testing.T, socket string) {
	t.Helper()
	eventually(t, "the socket", func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// A reload over the admin listener reads the configuration file again, as SIGHUP does. If
// that fails, the answer has each error with its position, and nothing has changed.
func TestAdminReadsTheConfigurationAgain(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "mtwire.toml"), filepath.Join(dir, "a.sock")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("admin = ['unix:"+socket+"']\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client := clientOf(socket)
	send := func(method, path string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(request)
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
	const carol = "dd202122232425262728292a2b2c2d2e2f"
	write("[[user]]\nname = 'bob'\nsecret = 'dd101112131415161718191a1b1c1d1e1f'\n")
	s := startServer(t, nil, "--config", file, "--watch=false")
	awaitSocket(t, socket)
	write("[[user]]\nname = 'carol'\nsecret = '" + carol + "'\n")
	if status, body := send("POST", "/v1/reload"); status != 200 || !strings.Contains(body, "true") {
		t.Error(status, body)
	}
	if !s.serves(t, carol) {
		t.Error("the new user is not served")
	}
	write("drian = 7\n")
	if status, body := send("POST", "/v1/reload"); status != 422 || !strings.Contains(body, "mtwire.toml:2:1: unknown key") {
		t.Error(status, body)
	}
	_, metrics := send("GET", "/metrics")
	for _, line := range []string{`mtwire_reloads_total{result="success"} 1`, `mtwire_reloads_total{result="error"} 1`} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("%s is missing", line)
		}
	}
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// If two reloads meet, the newest text of the file is in use afterwards, also if the older
// one took longer to read. A pipe stands for the older one.
func TestTheNewestConfigurationWins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, socket, log := filepath.Join(dir, "mtwire.toml"), filepath.Join(dir, "a.sock"), filepath.Join(dir, "log")
	text := func(user, secret string) []byte {
		return []byte("admin = ['unix:" + socket + "']\n[[user]]\nname = '" + user + "'\nsecret = '" + secret + "'\n")
	}
	const bob, carol, dave = "dd101112131415161718191a1b1c1d1e1f", "dd202122232425262728292a2b2c2d2e2f", "dd303132333435363738393a3b3c3d3e3f"
	write := func(path string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, text("bob", bob))
	s := startServer(t, nil, "--config", file, "--watch=false", "--log-file", log)
	s.ask(t)
	write(file+".new", text("carol", carol))
	if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		answer, err := clientOf(socket).Post("http://localhost/v1/reload", "", nil)
		if err == nil {
			answer.Body.Close()
		}
		answered <- err
	}()
	older, err := os.OpenFile(file, os.O_WRONLY, 0) // returns when the proxy reads it
	if err != nil {
		t.Fatal(err)
	}
	defer older.Close()
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	s.Process.Signal(syscall.SIGHUP)
	// The newer text must not be applied yet. If it is, that takes a moment.
	for end := time.Now().Add(time.Second); time.Now().Before(end) && !contains(log, "read the configuration again"); time.Sleep(10 * time.Millisecond) {
	}
	if _, err := older.Write(text("dave", dave)); err != nil {
		t.Fatal(err)
	}
	older.Close()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	s.awaitServing(t, "the newer text", carol)
	if !s.refuses(t, dave) {
		t.Error("the user of the older text is served")
	}
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
