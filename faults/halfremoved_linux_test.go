package faults_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/mtwire/mtwire/obfuscation"
)

// listedUsers is how many users the configuration has before half of them are removed.
const listedUsers = 10_000

// half is a proxy with listedUsers, of which some have a session.
type half struct {
	*reloaded
	sessions []*halfSession
}

// halfSession is a session of a user.
type halfSession struct {
	user   int
	conn   *mtwire.Conn
	client *loadgen.Client // owns conn
}

// stays reports whether the user's number is in the file after the reload.
func stays(user int) bool { return user%2 == 0 }

func nameOf(user int) string { return fmt.Sprintf("user-%05d", user) }

func keyOf(user int) (key [16]byte) {
	copy(key[:], fmt.Sprintf("the key of %05d", user))
	return key
}

// list returns a configuration with the users that keep reports true for.
func (h *half) list(keep func(user int) bool) string {
	var out strings.Builder
	fmt.Fprintf(&out, "probe = false\nlog_connections = false\ndomain = 'example.com'\nfront = ['%s']\ndc = ['*=%s']\n", h.host.address(), h.dcs[0].Addr())
	for i := range listedUsers {
		if keep(i) {
			fmt.Fprintf(&out, "[[user]]\nname = '%s'\nsecret = 'dd%x'\nmax_connections = 2\n", nameOf(i), keyOf(i))
		}
	}
	return out.String()
}

// connect opens n sessions of different users, half of which the reload removes.
func (h *half) connect(t *testing.T, n int) {
	t.Helper()
	h.sessions = make([]*halfSession, n)
	t.Cleanup(func() {
		for _, s := range h.sessions {
			if s != nil {
				s.client.Close()
			}
		}
	})
	h.each(t, func(i int) (err error) {
		user := i%2 + i/2*(listedUsers/n)*2
		h.sessions[i], err = h.dial(user)
		return err
	})
}

// dial connects a client of a user, and has some packets moved.
func (h *half) dial(user int) (*halfSession, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	ep, err := mtwire.ParseEndpoint(fmt.Sprintf("tcp://%s?secret=dd%x", h.address, keyOf(user)))
	if err != nil {
		return nil, err
	}
	ep.DC = 2
	conn, err := mtwire.DialEndpoint(ctx, ep, nil)
	if err != nil {
		return nil, err
	}
	client, err := loadgen.NewClient(conn, 0)
	if err != nil {
		conn.Close()
		return nil, err
	}
	s := &halfSession{user, conn, client}
	if err := s.exchange(); err != nil {
		client.Close()
		return nil, err
	}
	return s, nil
}

// exchange moves packets both ways. Both ends compare them with the data that follows that
// of the packets before.
func (s *halfSession) exchange() error {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	err := s.client.Echo(ctx)
	if err == nil {
		err = s.client.Download(ctx, 2)
	}
	if err == nil {
		err = s.client.Upload(ctx, 2)
	}
	return err
}

// each calls do for each session, 8 at a time, and ends the test if one fails. With many
// more, a busy machine gives the searches of one address up, and its clients see the site.
func (h *half) each(t *testing.T, do func(i int) error) {
	t.Helper()
	const workers = 8
	var running sync.WaitGroup
	for first := range workers {
		running.Go(func() {
			for i := first; i < len(h.sessions); i += workers {
				if err := do(i); err != nil {
					t.Errorf("session %d: %v", i, err)
					return
				}
			}
		})
	}
	running.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// awaitEnds returns the time at which the last client of a removed user has seen its
// connection end.
func (h *half) awaitEnds(t *testing.T) (last func() time.Time) {
	ctx := testContext(t)
	var waiting sync.WaitGroup
	for _, s := range h.sessions {
		if stays(s.user) {
			continue
		}
		waiting.Go(func() {
			if _, err := s.conn.Receive(ctx); err == nil || ctx.Err() != nil {
				t.Errorf("the session of %s has not ended: %v", nameOf(s.user), err)
			}
		})
	}
	return func() time.Time { waiting.Wait(); return time.Now() }
}

var reloadLine = regexp.MustCompile(`(?m)^time=(\S+) .*msg="read the configuration again" users=(\d+)$`)

// inForce returns the time that the log has of the reload, to a millisecond.
func (h *half) inForce(t *testing.T, users int) (at time.Time) {
	t.Helper()
	var line []string
	eventually(t, "the reload is logged", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		line = reloadLine.FindStringSubmatch(h.log.String())
		return line != nil
	})
	at, err := time.Parse(time.RFC3339, line[1])
	if err != nil || line[2] != fmt.Sprint(users) {
		t.Fatalf("%q: %v, want %d users", line[0], err, users)
	}
	return at
}

// unknown checks that a client with a key gets the site, as one does that has no secret.
func (h *half) unknown(t *testing.T, key [16]byte) {
	t.Helper()
	init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: mtwire.PaddedIntermediate, DC: 2, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	if init[0] == 0x16 { // the site would wait for the rest of a hello
		h.unknown(t, key)
		return
	}
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testTimeout))
	conn.Write(init[:])
	got := make([]byte, len(hostAnswer))
	if n, err := conn.Read(got); err != nil || string(got[:n]) != hostAnswer {
		t.Errorf("a client is answered %q, %v", got[:n], err)
	}
}

// agree checks that the status and the list of users have the users that stay, and one
// connection of each that has a session.
func (h *half) agree(t *testing.T) {
	t.Helper()
	want := make(map[string]int)
	for i := range listedUsers {
		if stays(i) {
			want[nameOf(i)] = 0
		}
	}
	sessions := 0
	for _, s := range h.sessions {
		if stays(s.user) {
			want[nameOf(s.user)] = 1
			sessions++
		}
	}
	var status struct {
		Users, Relaying, Authenticated int
		Configuration                  struct {
			Last struct{ Result string }
		}
	}
	if err := h.get("status", &status); err != nil {
		t.Fatal(err)
	}
	if status.Users != len(want) || status.Relaying != sessions || status.Authenticated != len(h.sessions) || status.Configuration.Last.Result != "success" {
		t.Errorf("the status is %+v, want %d users and %d sessions of %d", status, len(want), sessions, len(h.sessions))
	}
	for after := ""; ; {
		var page struct {
			Users []struct {
				Name  string
				Usage struct{ Connections int }
			}
			Next string
		}
		if err := h.get("users?limit=1000&after="+after, &page); err != nil {
			t.Fatal(err)
		}
		for _, u := range page.Users {
			if n, ok := want[u.Name]; !ok || n != u.Usage.Connections {
				t.Errorf("%s is listed with %d connections, want %d, %v", u.Name, u.Usage.Connections, n, ok)
			}
			delete(want, u.Name)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if len(want) > 0 {
		t.Errorf("%d users are not listed", len(want))
	}
	if err := h.get("users/"+nameOf(1)+"/usage", &struct{}{}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("the usage of a removed user: %v", err)
	}
}

// awaitStored waits until the store has the usage of all users that have had a session, and
// of no others: what a removed user has used is kept for 40 days.
func (h *half) awaitStored(t *testing.T) {
	t.Helper()
	var want []string
	for _, s := range h.sessions {
		want = append(want, nameOf(s.user))
	}
	slices.Sort(want)
	eventually(t, "the store has the users", func() bool {
		text, err := os.ReadFile(filepath.Join(h.state, "store", "usage"))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // it is written every three seconds
			t.Fatal(err)
		}
		got := regexp.MustCompile(`user-\d{5}`).FindAllString(string(text), -1)
		slices.Sort(got)
		return slices.Equal(got, want)
	})
	if s := h.store(t); s.Failing != "" || len(s.Damaged) > 0 {
		t.Errorf("the store is %+v", s)
	}
}

// most returns how many sessions this process can have, up to n: it has a client's
// descriptor of each and a data centre's.
func most(t *testing.T, n int) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if room := max(0, int(min(limit.Cur, 1<<20))-1000) / 2; room < n {
		reportNotRun(t, fmt.Sprintf("half of %d sessions", n), errors.New("there are too few descriptors"))
		n = room
	}
	return n
}

// Of 10,000 users of a file, 4,000 have a session, and one SIGHUP removes every other user:
// the 2,000 sessions of those end within a second after the log has the reload, all others
// go on with their bytes as they were, and removed users are unknown from then on.
//
// A session takes two descriptors of the proxy, and two of this process, which has the
// clients and the data centre. With 20,000 each could have 9,500 sessions; with 4,000 there
// is room on smaller systems, and the handshakes, each a search among 10,000 secrets, take
// seconds. The race detector allows 8,128 goroutines, and programs of 32 bits search without
// vector instructions, which is many times slower: then there are 1,000. Package proxy has
// the same with 10,000 sessions. No other test runs meanwhile, because of the second.
func TestReloadRemovesHalfOfTenThousandUsers(t *testing.T) {
	n := 4000
	if raceEnabled || strconv.IntSize == 32 {
		n = 1000
	}
	n = most(t, n)
	h := &half{reloaded: newReloaded(t)}
	h.replace(t, h.list(func(int) bool { return true }))
	h.start(t)
	h.connect(t, n)

	last := h.awaitEnds(t)
	h.replace(t, h.list(stays))
	late := lateness(t)
	h.signal(t, syscall.SIGHUP)
	ended := last()
	took, by := ended.Sub(h.inForce(t, listedUsers/2)), late()
	t.Logf("%d sessions ended within %v; the machine was late by %v", n/2, took, by)
	if took > time.Second+by {
		t.Errorf("%d sessions ended within %v, want a second; the machine was late by %v", n/2, took, by)
	}
	h.each(t, func(i int) error {
		if s := h.sessions[i]; stays(s.user) {
			return s.exchange()
		}
		return nil
	})
	visits := h.host.visits()
	for i := range 20 {
		h.unknown(t, keyOf(2*i+1))
		var never [16]byte
		rand.Read(never[:])
		h.unknown(t, never)
	}
	if n := h.host.visits() - visits; n != 40 {
		t.Errorf("%d of 40 clients got the site", n)
	}
	h.agree(t)
	h.each(t, func(i int) error {
		if s := h.sessions[i]; stays(s.user) {
			return s.client.Echo(testContext(t))
		}
		return nil
	})
	h.awaitStored(t)
}
