//go:build unix

package main

import (
	"context"
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
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
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
	s := startServer(t, nil, "--config", file)
	eventually(t, "the socket", func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	write("[[user]]\nname = 'carol'\nsecret = '" + carol + "'\n")
	if status, body := send("POST", "/v1/reload"); status != 200 || !strings.Contains(body, "true") {
		t.Error(status, body)
	}
	if err := askWithin(t.Context(), 20*time.Second, "tcp://"+s.address+"?secret="+carol); err != nil {
		t.Errorf("the new user is not served: %v", err)
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
