package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
)

// After an upgrade the next request on a connection to the admin listener is the new process's,
// also while the one before drains: a scraper keeps its connection.
func TestUpgradeTakesConnectionsOfOperators(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "a.sock")
	u := startUpgraded(t, patient, append(stayingFlags(t), "--admin", "unix:"+socket)...)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	answering := func() (pid int) {
		t.Helper()
		answer, err := client.Get("http://localhost/v1/version")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var d struct{ PID int }
		if err := json.NewDecoder(answer.Body).Decode(&d); err != nil || d.PID == 0 {
			t.Fatal(d, err)
		}
		return d.PID
	}
	busy := keepBusy(t, []*mtwire.Conn{u.join(t, upgradeModes[0]), u.join(t, upgradeModes[0])}...) // one of which stays
	if pid := answering(); pid != u.current {
		t.Errorf("process %d answers, want %d", pid, u.current)
	}
	former := u.takeOver(t)
	for end := time.Now().Add(patience); answering() != u.current; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the process before answers")
		}
	}
	if ended(former) {
		t.Error("the process before does not drain")
	}
	busy()
}
