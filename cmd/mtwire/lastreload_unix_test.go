//go:build unix

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// configurationDocument is what /v1/reload has, as a client without our types reads it.
type configurationDocument struct {
	ETag  string
	Since time.Time
	Last  *struct {
		At            time.Time
		Result, Error string
		Restart       []string
	}
}

// exchange sends a request to an admin socket. It parses the answer's body into v, and
// returns the status, the entity tag and the text.
func exchange(t *testing.T, client *http.Client, method, path, match string, v any) (status int, etag, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if match != "" {
		request.Header.Set("If-Match", match)
		request.Header.Set("If-None-Match", match)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil {
		err = json.Unmarshal(body, v)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return answer.StatusCode, answer.Header.Get("ETag"), string(body)
}

// The last reload is shown, by whatever it came: its result, errors with their positions,
// and keys that need a restart. The entity tag changes if another configuration is in
// force. If-Match with an older one reads nothing; of requests that have the same one at
// the same time, one is carried out.
func TestTheLastReloadIsShown(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "mtwire.toml"), filepath.Join(dir, "a.sock")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("admin = ['unix:"+socket+"']\nwatch = false\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const user = "[[user]]\nname = 'bob'\nsecret = 'dd101112131415161718191a1b1c1d1e1f'\n"
	write(user)
	begun := time.Now().Add(-time.Second)
	s := startServer(t, nil, "--config", file)
	s.ask(t)
	client := clientOf(socket)
	get := func() (c configurationDocument) {
		t.Helper()
		status, etag, text := exchange(t, client, "GET", "/v1/reload", "", &c)
		if status != 200 || etag == "" || etag != c.ETag || c.Since.Before(begun) || c.Since.After(time.Now()) {
			t.Fatal(status, etag, text)
		}
		return c
	}
	first := get()
	if first.Last != nil {
		t.Errorf("%+v", first.Last)
	}

	write("log_json = true\n" + user)
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "the reload", func() bool { return get().Last != nil })
	second := get()
	if l := second.Last; second.ETag == first.ETag || l.Result != "success" || l.Error != "" || !slices.Equal(l.Restart, []string{"log_json"}) || !second.Since.Equal(l.At) {
		t.Errorf("%+v %+v", second, l)
	}
	var c configurationDocument
	if status, _, text := exchange(t, client, "POST", "/v1/reload", first.ETag, new(any)); status != 412 || get().Last.At != second.Last.At {
		t.Error(status, text)
	}

	// An error of the text, and one of a value: both have their position in the file.
	for text, want := range map[string]string{"drian = 7\n": "mtwire.toml:3:1: unknown key", "block = ['/nothing']\n" + user: "mtwire.toml:3:"} {
		write(text)
		status, _, body := exchange(t, client, "POST", "/v1/reload", second.ETag, new(any))
		if status != 422 || !strings.Contains(body, want) {
			t.Error(status, body)
		}
		c = get()
		if c.ETag != second.ETag || !c.Since.Equal(second.Since) || c.Last.Result != "error" || !strings.Contains(c.Last.Error, want) || c.Last.Restart == nil {
			t.Errorf("%+v %+v", c, c.Last)
		}
		// What has failed is new, although the tag is not.
		if status, _, _ := exchange(t, client, "GET", "/v1/reload", c.ETag, new(any)); status != 200 {
			t.Error(status)
		}
	}

	write(user)
	var mu sync.Mutex
	var posting sync.WaitGroup
	statuses := make(map[int]int)
	for range 8 {
		posting.Go(func() {
			status, _, _ := exchange(t, client, "POST", "/v1/reload", second.ETag, new(any))
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
		})
	}
	posting.Wait()
	if statuses[200] != 1 || statuses[412] != 7 {
		t.Error(statuses)
	}
	third := get()
	var posted, status struct {
		configurationDocument
		Reloaded      bool
		Configuration configurationDocument
	}
	code, etag, text := exchange(t, client, "POST", "/v1/reload", third.ETag, &posted)
	if code != 200 || !posted.Reloaded || etag != posted.ETag || etag == third.ETag || posted.Last.Result != "success" {
		t.Error(code, etag, text)
	}
	if exchange(t, client, "GET", "/v1/status", "", &status); status.Configuration.ETag != etag || status.Configuration.Last.Result != "success" {
		t.Errorf("%+v", status.Configuration)
	}
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// Without a configuration file, the tag is of the other files that are read. If-Match is checked
// there as well, and also if there is no file.
func TestIfMatchWithoutAConfigurationFile(t *testing.T) {
	dir := t.TempDir()
	secrets := filepath.Join(dir, "secrets")
	if err := os.WriteFile(secrets, []byte("bob=dd101112131415161718191a1b1c1d1e1f\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"file": {"--secrets", secrets}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "a.sock")
			s := startServer(t, nil, append(args, "--admin", "unix:"+socket)...)
			client := clientOf(socket)
			awaitSocket(t, socket)
			var before, after configurationDocument
			_, etag, _ := exchange(t, client, "GET", "/v1/reload", "", &before)
			if status, _, text := exchange(t, client, "POST", "/v1/reload", `"other"`, new(any)); status != 412 {
				t.Error(status, text)
			}
			status, now, text := exchange(t, client, "POST", "/v1/reload", etag, &after)
			if status != 200 || (now != etag) != (name == "file") || (after.Last != nil) != (name == "file") {
				t.Error(status, now, text)
			}
			if err := s.stop(t, syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		})
	}
}
