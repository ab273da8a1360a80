//go:build unix

package service

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// mostUsers is how many users a configuration file must be able to have.
const mostUsers = 100_000

// writeManyUsers writes a configuration with n users that have limits. first is in front.
func writeManyUsers(t *testing.T, path, first string, n int) {
	t.Helper()
	var out strings.Builder
	out.WriteString(first)
	for i := range n {
		fmt.Fprintf(&out, "[[user]]\nname = \"user-%d\"\nsecret = \"dd%032x\"\nmax_connections = 100\nmax_addresses = 3\nquota = \"100 GiB\"\nquota_period = \"month\"\nrate_down = \"1 MiB\"\ntime_zone = \"Europe/Berlin\"\n\n", i, int64(i)+1<<32)
	}
	if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// While 100,000 users are replaced, clients are served: a handshake begins and ends within
// one reload.
func TestReplacingManyUsersHoldsUpNoHandshake(t *testing.T) {
	dir := t.TempDir()
	r := run(t, func(c *Config) { c.State, c.Probe = filepath.Join(dir, "state"), false })
	first := fmt.Sprintf("secret = [\"alice=%s\"]\n", mtwiretest.PlainSecret)
	paths := []string{filepath.Join(dir, "a.toml"), filepath.Join(dir, "b.toml")}
	for i, path := range paths { // which have other users
		writeManyUsers(t, path, first, mostUsers-i)
	}
	var reload atomic.Int64 // odd while one runs
	ended := make(chan struct{})
	var failed error
	link, listen, dc := linksOf(r.Service)[0].String(), r.config.Listen, r.config.DataCenters
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		for n := 0; ctx.Err() == nil && failed == nil; n++ {
			c, _, err := LoadFile(paths[n%2])
			if err == nil {
				c.State, c.DataCenters, c.Listen, c.Probe = filepath.Join(dir, "state"), dc, listen, false
				reload.Add(1)
				_, err = r.Reconfigure(c)
				reload.Add(1)
			}
			failed = err
		}
	}()
	served := 0
	for deadline := time.Now().Add(5 * time.Minute); served < 3; {
		before := reload.Load()
		conn, err := mtwire.Dial(t.Context(), link, nil)
		if err != nil {
			t.Fatal(err)
		}
		receive(t, conn)
		after := reload.Load()
		conn.Close()
		if before == after && before%2 == 1 {
			served++
		}
		if time.Now().After(deadline) {
			t.Error("no client was served during a reload")
			break
		}
	}
	stop()
	<-ended
	if failed != nil {
		t.Error(failed)
	}
}
