package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
)

const carolSecret = "dd202122232425262728292a2b2c2d2e2f"

// withUser returns the flags of a proxy with a user called carol, in a file that has settings
// as well.
func withUser(t *testing.T, settings, limits string) (flags []string, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "mtwire.toml")
	text := settings + "\n[[user]]\nname = 'carol'\nsecret = '" + carolSecret + "'\n" + limits
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--config", file}, file
}

// admits reports whether carol gets another connection, which is closed.
func (u *upgraded) admits(t *testing.T) bool {
	t.Helper()
	return u.admitsWithin(t, time.Second)
}

func (u *upgraded) admitsWithin(t *testing.T, limit time.Duration) bool {
	t.Helper()
	conn, err := mtwire.Dial(context.Background(), "tcp://"+u.address+"?secret="+carolSecret, nil)
	if err != nil {
		return false
	}
	defer conn.Close()
	return echoWithin(conn, 100, limit) == nil // there is no answer to a client that is refused
}

// awaitAdmission returns the connection of a client, once the proxy admits it. Until then there
// is no answer, for which it waits longer and longer.
func (u *upgraded) awaitAdmission(t *testing.T, query string) *mtwire.Conn {
	t.Helper()
	for limit := time.Second; ; limit *= 2 {
		conn, err := mtwire.Dial(t.Context(), "tcp://"+u.address+"?"+query, nil)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			err = echoWithin(conn, 100, limit)
		}
		switch {
		case err == nil:
			return conn
		case limit > patience:
			t.Fatalf("no client is admitted: %v", err)
		case conn != nil:
			conn.Close()
		}
	}
}

// busyLength is the length of the packets of keepBusy, and with what is around them they have
// busyBytes at most, in both directions.
const (
	busyLength = 64
	busyBytes  = 2 * 150
)

// keepBusy has clients exchange packets, so that their sessions are not idle, until stop. Each
// exchanges one more then, and stop returns how many there were.
func keepBusy(t *testing.T, conns ...*mtwire.Conn) (stop func() (packets int)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var packets atomic.Int32
	for _, conn := range conns {
		running.Go(func() {
			for last := false; !last; {
				last = ctx.Err() != nil
				if err := echoOnce(conn, busyLength); err != nil {
					t.Error(err)
					return
				}
				packets.Add(1)
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	stop = func() int {
		cancel()
		running.Wait()
		return int(packets.Load())
	}
	t.Cleanup(func() { stop() })
	return stop
}

// The limit of a user's connections is for both processes together: while some of them are
// in the old one, the new one admits the rest.
func TestUpgradeCountsConnectionsOfBothProcesses(t *testing.T) {
	t.Parallel()
	flags, _ := withUser(t, "", "max_connections = 5\nmax_addresses = 1\n")
	u := startUpgraded(t, patient, append(stayingFlags(t), flags...)...)
	var conns []*mtwire.Conn
	for range 4 {
		conns = append(conns, u.join(t, "secret="+carolSecret))
	}
	stop := keepBusy(t, conns...)
	former := u.takeOver(t)
	if moved := u.takeovers(t)[0][2]; moved != "2" {
		t.Fatalf("%s sessions have moved, want 2 of 4", moved)
	}
	fifth := u.join(t, "secret="+carolSecret)
	if u.admits(t) {
		t.Error("a sixth connection was admitted")
	}
	if syscall.Kill(former, 0) != nil || isZombie(former) {
		t.Fatal("the former process has ended already")
	}
	stop()
	for _, conn := range conns {
		conn.Close()
	}
	u.awaitAdmission(t, "secret="+carolSecret).Close() // in the place of one that has ended
	if err := echoOnce(fifth, 100); err != nil {
		t.Error(err)
	}
}

// The bytes of a user count once: those that only the old process has counted keep the new one
// from admitting more, and in the end one process has all of them.
func TestUpgradeCountsAQuotaOnce(t *testing.T) {
	t.Parallel()
	flags, _ := withUser(t, "", "quota = '2MB'\n")
	a := startAdministeredWith(t, patient, append(stayingFlags(t), flags...)...)
	conns := []*mtwire.Conn{a.join(t, "secret="+carolSecret), a.join(t, "secret="+carolSecret)}
	used := func() (bytes int64) {
		text := a.get(t, "GET", "/v1/users/carol/usage", "")
		_, rest, _ := strings.Cut(text, `"quota_used":`)
		fmt.Sscan(rest, &bytes)
		return bytes
	}
	const size = 300_000 // twice, for both directions
	if err := echoOnce(conns[1], size); err != nil {
		t.Fatal(err)
	}
	stop := keepBusy(t, conns...) // conns[1] is in the former process, which closes it when it is idle
	former := a.takeOver(t)
	packets := stop()
	if err := echoOnce(conns[1], size); err != nil {
		t.Fatal(err)
	}
	stop = keepBusy(t, conns[1])
	if err := echoOnce(conns[0], size); err != nil {
		t.Fatal(err)
	}
	// 1.8 MB. The store of the former process may have less.
	if !a.admitsWithin(t, patience) {
		t.Error("the quota is used up too soon")
	}
	packets += stop()
	if err := echoOnce(conns[1], 150_000); err != nil { // in the former process
		t.Fatal(err)
	}
	eventually(t, "a refusal", func() bool { return !a.admits(t) })
	for _, conn := range conns {
		eventually(t, "the end of a session", func() bool { return echoWithin(conn, 64, time.Second) != nil })
	}
	eventually(t, "the end of the former process", func() bool { return syscall.Kill(former, 0) != nil || isZombie(former) })
	most := 2_110_000 + int64(packets)*busyBytes
	eventually(t, "the usage of both", func() bool { n := used(); return n > 2_100_000 && n < most })
}

// A quota that is used up in the new process ends the user's sessions in the old one, too, and
// not those of others.
func TestUpgradeEndsSessionsInBothProcesses(t *testing.T) {
	t.Parallel()
	flags, _ := withUser(t, "", "quota = '2MB'\n")
	u := startUpgraded(t, patient, append(stayingFlags(t), flags...)...)
	conns := []*mtwire.Conn{u.join(t, "secret="+carolSecret), u.join(t, "secret="+carolSecret)}
	others := []*mtwire.Conn{u.join(t, upgradeModes[0]), u.join(t, upgradeModes[0])}
	stop := keepBusy(t, append(conns, others...)...)
	former := u.takeOver(t)
	stop()
	stop = keepBusy(t, others...)
	for range 4 { // 2.4 MB: the last is the end of the session
		if err := echoWithin(conns[0], 300_000, patience); err != nil {
			break
		}
		if err := echoOnce(conns[1], 64); err != nil { // in the former process, where it is not idle
			break
		}
	}
	eventually(t, "the end of the session in the former process", func() bool { return echoWithin(conns[1], 64, patience) != nil })
	stop() // without an error
	if syscall.Kill(former, 0) != nil || isZombie(former) {
		t.Error("the former process has ended: it was not to")
	}
}

// A user's rate is for both processes together.
func TestUpgradeSharesARate(t *testing.T) {
	t.Parallel()
	flags, _ := withUser(t, "", "rate_up = '1MB'\n")
	u := startUpgraded(t, patient, append(stayingFlags(t), flags...)...)
	conns := []*mtwire.Conn{u.join(t, "secret="+carolSecret), u.join(t, "secret="+carolSecret)}
	stop := keepBusy(t, conns...)
	u.takeOver(t)
	stop()
	start := time.Now()
	var running sync.WaitGroup
	for _, conn := range conns { // one is in each process
		running.Go(func() {
			for range 5 {
				if err := echoOnce(conn, 100_000); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if took := time.Since(start); took < 850*time.Millisecond {
		t.Errorf("1 MB was sent in %v, want a second", took)
	}
}

// The sessions of a user that the new configuration does not have are closed, and not drained,
// those in the old process as well.
func TestUpgradeClosesSessionsOfUsersThatAreGone(t *testing.T) {
	t.Parallel()
	flags, file := withUser(t, "watch = false", "")
	u := startUpgraded(t, patient, append(stayingFlags(t), flags...)...)
	gone := []*mtwire.Conn{u.join(t, "secret="+carolSecret), u.join(t, "secret="+carolSecret)}
	stay := []*mtwire.Conn{u.join(t, upgradeModes[0]), u.join(t, upgradeModes[0])}
	stop := keepBusy(t, stay...)
	if err := os.WriteFile(file, []byte("watch = false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u.takeOver(t)
	for _, conn := range gone {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if p, err := conn.Receive(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("a session of a user that is gone goes on: %v, %v", p, err)
		}
		cancel()
	}
	stop() // without an error: the others go on
}
