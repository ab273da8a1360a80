//go:build unix

package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/keysearch"
	"github.com/mtwire/mtwire/mtproxy"
)

// crowd is a proxy with many users, each of which has one session. Connections are pipes
// within the process, so that the limit of descriptors is none of sessions.
type crowd struct {
	*Proxy
	users []User
	conns []*mtwire.Conn // by user
	ended *reports
}

// newCrowd connects a client of each of n users.
func newCrowd(t *testing.T, n int) *crowd {
	t.Helper()
	c := &crowd{users: numberedUsers(0, n, mtproxy.Padded, ""), conns: make([]*mtwire.Conn, n), ended: &reports{}}
	ctx, cancel := context.WithCancel(context.Background())
	var upstreams sync.WaitGroup
	t.Cleanup(func() { cancel(); upstreams.Wait() }) // after the proxy's end
	c.Proxy = newProxy(t, Config{
		Users: c.users, DataCenters: at("dc.test:443"), Traces: []*Trace{c.ended.trace()},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			upstreams.Go(func() {
				defer far.Close()
				echoing(1000)(far)
			})
			return near, nil
		},
	})
	c.introduce(t)
	c.forEach(t, func(i int) (err error) {
		client := c.connect(i)
		c.conns[i], err = mtwire.Client(ctx, client, mtwire.Endpoint{Secret: c.users[i].Secrets[0], DC: 2}, nil)
		if err != nil {
			client.Close()
			return err
		}
		return c.echo(i)
	})
	t.Cleanup(func() {
		for _, conn := range c.conns {
			if conn != nil {
				conn.Close()
			}
		}
	})
	return c
}

// connect returns a client's end of a new connection of a user, from an address of its own.
func (c *crowd) connect(user int) net.Conn {
	client, server := net.Pipe()
	c.handle(&addressed{server, net.TCPAddrFromAddrPort(netip.AddrPortFrom(addressOf(user), 4567))})
	return client
}

func addressOf(user int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(user >> 8), byte(user)})
}

// introduce makes every user one that has connected from its address before: to search
// among all secrets for each client would take most of the test's time.
func (c *crowd) introduce(t *testing.T) {
	for i := range c.users {
		c.search.Find(t.Context(), c.Proxy.users.Load().index, addressOf(i), keysearch.Query{Length: 64}, func(set *mtproxy.KeySet) int {
			return slices.Index(set.Keys(), keyOf(i))
		})
	}
}

// forEach calls do for every user, 32 at a time.
func (c *crowd) forEach(t *testing.T, do func(user int) error) {
	t.Helper()
	const workers = 32
	var running sync.WaitGroup
	for first := range workers {
		running.Go(func() {
			for i := first; i < len(c.users); i += workers {
				if err := do(i); err != nil {
					t.Errorf("%s: %v", c.users[i].Name, err)
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

// echo has one packet of a user come back, with its bytes as they were.
func (c *crowd) echo(user int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	sent := payload(3)
	if err := c.conns[user].Send(ctx, sent); err != nil {
		return err
	}
	got, err := c.conns[user].Receive(ctx)
	if err == nil && !bytes.Equal(got.Payload, sent) {
		err = errors.New("other bytes came back")
	}
	return err
}

// awaitEnds returns the time at which the last client of the users that keep reports
// false for has seen its connection end.
func (c *crowd) awaitEnds(t *testing.T, keep func(user int) bool) (last func() time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	var waiting sync.WaitGroup
	for i, conn := range c.conns {
		if keep(i) {
			continue
		}
		waiting.Go(func() {
			if _, err := conn.Receive(ctx); err == nil || ctx.Err() != nil {
				t.Errorf("the connection of %s has not ended: %v", c.users[i].Name, err)
			}
		})
	}
	return func() time.Time {
		waiting.Wait()
		cancel()
		return time.Now()
	}
}

// Of 10,000 users, each with a session, SetUsers removes every other one: their 5,000
// sessions end within a second, for that reason, and the clients of the others go on with
// their bytes as they were. The second is one of the bubble's clock, for what waits, and one
// of processor time, so that other processes do not count. Under the race detector, which
// allows 8,128 goroutines in a process, there are 1,200 users, and processor time is free.
func TestHalfOfManyUsersIsRemoved(t *testing.T) {
	n := 10_000
	if raceEnabled {
		n = 1200
	}
	synctest.Test(t, func(t *testing.T) { removeHalf(t, newCrowd(t, n)) })
}

func removeHalf(t *testing.T, c *crowd) {
	n := len(c.users)
	if s := c.Stats(); s.Relaying != int64(n) || s.Open != int64(n) {
		t.Fatalf("%d sessions: %+v", n, s)
	}
	stays := func(user int) bool { return user%2 == 0 }
	var kept []User
	for i, u := range c.users {
		if stays(i) {
			kept = append(kept, u)
		}
	}
	last := c.awaitEnds(t, stays)
	synctest.Wait()
	begin, before := time.Now(), processorTime(t)
	setUsers(t, c.Proxy, kept...)
	took := last().Sub(begin)
	used := processorTime(t) - before
	t.Logf("%d sessions ended within %v, and %v of processor time", n-len(kept), took, used)
	if took > time.Second || used > time.Second && !raceEnabled {
		t.Errorf("%d sessions ended within %v, and %v of processor time", n-len(kept), took, used)
	}
	gone := make(map[string]bool)
	for _, r := range c.ended.wait(t, n-len(kept)) {
		if !errors.Is(r.Err, errUserGone) {
			t.Errorf("a session of %s ended: %v", r.User.Name, r.Err)
		}
		gone[r.User.Name] = true
	}
	c.forEach(t, func(user int) error {
		if gone[c.users[user].Name] == stays(user) {
			return fmt.Errorf("the user stays: %v, and the session has ended: %v", stays(user), stays(user))
		}
		if stays(user) {
			return c.echo(user)
		}
		return nil
	})
	if s := c.Stats(); s.Relaying != int64(len(kept)) || s.Open != int64(len(kept)) || s.Authenticated != int64(n) {
		t.Errorf("of %d sessions, %d stay: %+v", n, len(kept), s)
	}
	c.refused(t, 1)
	if all := c.ended.wait(t, n-len(kept)+1); len(all) != n-len(kept)+1 {
		t.Errorf("%d sessions have ended", len(all))
	}
}

// processorTime returns what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// refused checks that a removed user's client is not authenticated.
func (c *crowd) refused(t *testing.T, user int) {
	t.Helper()
	client := c.connect(user)
	client.Write(initOf(t, c.users[user].Secrets[0].Key, mtwire.PaddedIntermediate))
	client.Close()
	eventually(t, "the client was not authenticated", func() bool { return c.Stats().Unauthenticated == 1 })
}
