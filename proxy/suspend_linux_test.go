package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// duplicate returns another descriptor of a socket, as another process would have it.
func duplicate(t *testing.T, conn net.Conn) net.Conn {
	t.Helper()
	file, err := conn.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	other, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// relocate moves sessions from one proxy to another until want have been, and returns
// their states.
func relocate(t *testing.T, from, to *Proxy, want int) (states []*SessionState) {
	t.Helper()
	suspender := from.Suspender()
	for end := time.Now().Add(30 * time.Second); len(states) < want; {
		suspended, _, left := suspender.Suspend(5)
		if len(suspended) == 0 {
			if time.Now().After(end) {
				t.Fatalf("%d sessions were suspended, %d are left; want %d", len(states), left, want)
			}
			time.Sleep(time.Millisecond)
		}
		for _, s := range suspended {
			state := *s.State()
			client, upstream := s.Sockets()
			adopted, err := to.Adopt(&state, duplicate(t, client), duplicate(t, upstream))
			if err != nil {
				t.Fatal(err)
			}
			if !s.Release() {
				t.Fatal("the session has ended")
			}
			adopted.Start()
			states = append(states, &state)
		}
	}
	return states
}

// relocationConfigs are configurations of all ways in which bytes are relayed.
func relocationConfigs(t *testing.T) map[string]Config {
	dc, _ := dataCenter(t)
	users := []User{user(t, "alice", mtwiretest.PlainSecret, mtwiretest.FakeTLSSecret)}
	return map[string]Config{
		"fast mode":    {Users: users, DataCenters: allAt(dc)},
		"no fast mode": {Users: users, DataCenters: allAt(dc), DisableFastMode: true},
	}
}

var relocationQueries = []string{
	"secret=" + mtwiretest.PlainSecret,
	"protocol=intermediate&secret=" + mtwiretest.PlainSecret,
	"secret=dd" + mtwiretest.PlainSecret,
	"secret=" + mtwiretest.FakeTLSSecret,
}

// Sessions of all modes go on in another proxy, again and again, idle ones and such that
// have not sent anything to the data centre's answer yet. Their reports and sums go on.
func TestSessionsGoOnInAnotherProxy(t *testing.T) {
	for name, config := range relocationConfigs(t) {
		t.Run(name, func(t *testing.T) {
			from := newProxy(t, config)
			ln := listen(t, "tcp", "127.0.0.1:0")
			serve(t, from, ln)
			var conns []*mtwire.Conn
			for _, query := range relocationQueries {
				conns = append(conns, join(t, ln.Addr(), query))
				conn := join(t, ln.Addr(), query)
				echo(t, conn, 3)
				conns = append(conns, conn)
			}
			first, before := from, int64(0)
			for i := range 3 {
				age := time.Hour
				for s := range from.Sessions() {
					age = min(age, s.Report().Duration)
				}
				to := newProxy(t, config)
				for _, state := range relocate(t, from, to, len(conns)) {
					if state.User != "alice" || state.Stage != FirstByteDown || state.Up.Bytes == 0 || state.Down.Bytes == 0 {
						t.Errorf("%+v", state)
					}
					if i == 0 {
						before += state.Up.Bytes
					}
				}
				if open := from.Stats().Open; open != 0 {
					t.Errorf("%d sessions are open in the old proxy", open)
				}
				up := to.Stats().Up
				for _, conn := range conns {
					echo(t, conn, 3)
					echo(t, conn, 10000)
				}
				stats := to.Stats()
				if int(stats.Open) != len(conns) || int(stats.Relaying) != len(conns) || up != 0 {
					t.Errorf("%+v, before %d up", stats, up)
				}
				eventually(t, "the bytes are counted", func() bool { return to.Stats().Up >= int64(len(conns)*160000) })
				if _, users, _ := to.StatsByUser(); len(users) != 1 || users[0].Connections != 0 || int(users[0].Open) != len(conns) {
					t.Errorf("%+v", users)
				}
				for s := range to.Sessions() {
					if r := s.Report(); r.Duration < age || r.User.Name != "alice" || r.Upstream != "direct" {
						t.Errorf("%+v", r)
					}
				}
				from = to
			}
			stats, users, _ := first.StatsByUser()
			if stats.Up != before || int(users[0].Connections) != len(conns) || users[0].Up != before {
				t.Errorf("the first proxy has moved %d bytes up: %+v, %+v", before, stats, users)
			}
		})
	}
}

// Sessions that move bytes all the time lose, double and reorder none while they are moved.
func TestMovingSessionsGoOnInAnotherProxy(t *testing.T) {
	for name, config := range relocationConfigs(t) {
		t.Run(name, func(t *testing.T) {
			from := newProxy(t, config)
			ln := listen(t, "tcp", "127.0.0.1:0")
			serve(t, from, ln)
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			var moving sync.WaitGroup
			for i, query := range relocationQueries {
				conn := join(t, ln.Addr(), query)
				moving.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						sent := payload(3 + n*97%4000)
						if err := conn.Send(context.Background(), sent); err != nil {
							t.Errorf("client %d: %v", i, err)
							return
						}
						p, err := conn.Receive(context.Background())
						if err != nil || !bytes.Equal(p.Payload, sent) {
							t.Errorf("client %d, message %d: %d bytes of %d came back, %v", i, n, len(p.Payload), len(sent), err)
							return
						}
					}
				})
			}
			for range 5 {
				to := newProxy(t, config)
				relocate(t, from, to, len(relocationQueries))
				from = to
			}
			stop()
			moving.Wait()
		})
	}
}

// A session that is suspended goes on after Resume, and one that is closed meanwhile is
// not released.
func TestSuspendedSessionsResumeOrEnd(t *testing.T) {
	p := newEchoProxy(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	conn := join(t, ln.Addr(), "secret="+mtwiretest.PlainSecret)
	suspend := func() (s *Suspended) {
		eventually(t, "a suspension", func() bool {
			all, _, _ := p.Suspender().Suspend(1)
			if len(all) == 1 {
				s = all[0]
			}
			return s != nil
		})
		return s
	}
	suspend().Resume()
	echo(t, conn, 3)
	s := suspend()
	s.session.Close(errors.New("closed"))
	ended(t, conn)
	if s.Release() {
		t.Error("a session that was closed was released")
	}
	s.Resume()
	if all, _, left := p.Suspender().Suspend(1); len(all)+left != 0 {
		t.Error(len(all), left)
	}
}

// A proxy does not adopt sessions of users that it does not have, whose secret or ad tag
// is another one, or whose state is none.
func TestAdoptRefusesOtherUsers(t *testing.T) {
	from := newEchoProxy(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, from, ln)
	conn := join(t, ln.Addr(), "secret="+mtwiretest.PlainSecret)
	for name, config := range map[string][]User{
		"other user":   {user(t, "bob", mtwiretest.PlainSecret)},
		"other secret": {user(t, "alice", fmt.Sprintf("%032x", 7))},
		"other tag":    {{Name: "alice", Secrets: user(t, "", mtwiretest.PlainSecret).Secrets, AdTag: make([]byte, 16)}},
	} {
		to := newProxy(t, Config{Users: config})
		var suspended []*Suspended
		eventually(t, "a suspension", func() bool {
			suspended, _, _ = from.Suspender().Suspend(1)
			return len(suspended) == 1
		})
		client, upstream := suspended[0].Sockets()
		if _, err := to.Adopt(suspended[0].State(), client, upstream); !errors.Is(err, ErrNotAdmitted) {
			t.Errorf("%s: %v", name, err)
		}
		suspended[0].Resume()
		echo(t, conn, 3)
	}
}

// A session that is adopted and not started is dropped without a trace.
func TestAdoptedSessionsCanBeDropped(t *testing.T) {
	from, to := newEchoProxy(t), newEchoProxy(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, from, ln)
	conn := join(t, ln.Addr(), "secret="+mtwiretest.PlainSecret)
	var suspended []*Suspended
	eventually(t, "a suspension", func() bool {
		suspended, _, _ = from.Suspender().Suspend(1)
		return len(suspended) == 1
	})
	client, upstream := suspended[0].Sockets()
	adopted, err := to.Adopt(suspended[0].State(), duplicate(t, client), duplicate(t, upstream))
	if err != nil {
		t.Fatal(err)
	}
	if open := to.Stats().Open; open != 1 {
		t.Errorf("%d are open", open)
	}
	adopted.Drop()
	if stats := to.Stats(); stats.Open != 0 || stats.Up != 0 {
		t.Errorf("%+v", stats)
	}
	suspended[0].Resume()
	echo(t, conn, 3)
}

// The client of a session that is suspended may be moved on meanwhile, because its data
// centre does not answer: then there is nothing to resume or to release.
func TestSuspendedSessionsMayBeMovedOn(t *testing.T) {
	p := newEchoProxy(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	join(t, ln.Addr(), "secret="+mtwiretest.PlainSecret)
	var suspended []*Suspended
	eventually(t, "a suspension", func() bool {
		suspended, _, _ = p.Suspender().Suspend(1)
		return len(suspended) == 1
	})
	s := suspended[0].session
	s.mu.Lock()
	s.pair.Abort(errSilent) // as trial.expire
	s.pair = nil            // as trial.resume
	s.mu.Unlock()
	suspended[0].Resume()
	if suspended[0].Release() {
		t.Error("a session whose client is moved on was released")
	}
}

// The sums count a session once at each moment, also when it is given up.
func TestReleasedSessionsCountOnce(t *testing.T) {
	p := newEchoProxy(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	const count = 100
	for range count {
		echo(t, join(t, ln.Addr(), "secret="+mtwiretest.PlainSecret), 10000)
	}
	var suspended []*Suspended
	eventually(t, "suspensions", func() bool {
		some, _, _ := p.Suspender().Suspend(count)
		suspended = append(suspended, some...)
		return len(suspended) == count
	})
	sum := p.Stats().Up
	released := make(chan struct{})
	go func() {
		defer close(released)
		for _, s := range suspended {
			s.Release()
		}
	}()
	for done := false; !done; {
		select {
		case <-released:
			done = true
		default:
		}
		if up := p.Stats().Up; up != sum {
			t.Fatalf("%d bytes up, want %d", up, sum)
		}
	}
}

// Once the sessions have gone on elsewhere and the Suspender is dropped, nothing refers to
// them: neither the timers that they had, which run for longer, nor the proxy.
func TestSessionsThatHaveGoneOnLeaveTheMemory(t *testing.T) {
	from, to := newEchoProxy(t), newEchoProxy(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, from, ln)
	const count = 20
	for range count {
		echo(t, join(t, ln.Addr(), "secret="+mtwiretest.FakeTLSSecret), 3)
	}
	var all []weak.Pointer[session]
	var timers []*stallExpiry
	from.each(func(s *session) {
		s.stall.mu.Lock()
		timers = append(timers, s.stall.expiry)
		s.stall.mu.Unlock()
		all = append(all, weak.Make(s))
	})
	relocate(t, from, to, count)
	for _, e := range timers { // which the runtime may keep
		if e.session.Load() != nil {
			t.Error("a timer that is stopped refers to a session")
		}
	}
	eventually(t, "the memory of all sessions is free", func() bool {
		runtime.GC()
		return !slices.ContainsFunc(all, func(s weak.Pointer[session]) bool { return s.Value() != nil })
	})
	runtime.KeepAlive(from)
}
