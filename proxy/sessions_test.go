package proxy

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Sessions are those that are open, each with an ID of its own.
func TestSessionsAreThoseThatAreOpen(t *testing.T) {
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(10)}
	inBubble(t, Config{DataCenters: at("dc.test:443")}, hosts, func(t *testing.T, b *bubble) {
		ids := make(map[uint64]bool) // of all sessions so far
		stages := func() (all []string) {
			synctest.Wait()
			for s := range b.Sessions() {
				ids[s.ID()] = true
				name := "none"
				if u := s.User(); u != nil {
					name = u.Name
				}
				all = append(all, s.Report().Stage.String()+" "+name)
			}
			slices.Sort(all)
			return all
		}
		silent := b.connect()
		conn := b.join(mtwiretest.PaddedSecret)
		echo(t, conn, 3)
		b.connect().Write([]byte{1})
		if got, want := stages(), []string{"accepted none", "client bytes none", "first byte down alice"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		silent.Close()
		if got, want := stages(), []string{"client bytes none", "first byte down alice"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		b.closeAll(errStopping)
		if got := stages(); len(got) != 0 {
			t.Errorf("%q are left", got)
		}
		b.connect()
		b.connect()
		if stages(); len(ids) != 5 {
			t.Errorf("%d IDs of five sessions", len(ids))
		}
		for range b.Sessions() {
			break // the rest is not needed
		}
	})
}

// A session that is closed has the first cause in its report and in the log, at
// every stage. nil stands for net.ErrClosed.
func TestCloseHasACause(t *testing.T) {
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(10), "slow.test:443": nil}
	idle := errors.New("alice has been idle")
	for name, visit := range map[string]func(t *testing.T, b *bubble){
		"silent":      func(t *testing.T, b *bubble) { b.connect() },
		"handshaking": func(t *testing.T, b *bubble) { b.connect().Write([]byte{1}) },
		"dialling":    func(t *testing.T, b *bubble) { b.joinOn(b.connect(), mtwiretest.PaddedSecret, 3).Handshake(b.ctx) },
		"relaying":    func(t *testing.T, b *bubble) { echo(t, b.join(mtwiretest.FakeTLSSecret), 3) },
	} {
		for _, cause := range []error{idle, nil} {
			want := cause
			if want == nil {
				want = net.ErrClosed
			}
			ended := &reports{}
			config := Config{
				DataCenters: map[mtwire.DC][]string{3: {"slow.test:443"}, 4: {"dc.test:443"}},
				Traces:      []*Trace{ended.trace()},
			}
			inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
				visit(t, b)
				synctest.Wait()
				for s := range b.Sessions() {
					s.Close(cause)
					s.Close(errStopping)
					synctest.Wait()
					s.Close(errStopping)
					if got := s.Report().Err; !errors.Is(got, want) {
						t.Errorf("%s: the report has %v", name, got)
					}
				}
				synctest.Wait()
				if all := ended.wait(t, 1); len(all) != 1 || !errors.Is(all[0].Err, want) || errors.Is(all[0].Err, errStopping) {
					t.Errorf("%s: %+v", name, all)
				}
				if line := b.log.last(); !strings.Contains(line, want.Error()) {
					t.Errorf("%s: %s", name, line)
				}
				if s := b.Stats(); s.Open != 0 || s.Relaying != 0 || s.Unreachable != 0 {
					t.Errorf("%s: %+v", name, s)
				}
			})
		}
	}
}

// Every session that ends with its proxy has that as its cause.
func TestSessionsThatEndWithTheProxyHaveItAsTheirCause(t *testing.T) {
	ended := &reports{}
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(10), "slow.test:443": nil}
	config := Config{
		DataCenters: map[mtwire.DC][]string{3: {"slow.test:443"}, 4: {"dc.test:443"}},
		Traces:      []*Trace{ended.trace()},
	}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		b.connect()
		b.connect().Write([]byte{1})
		b.joinOn(b.connect(), mtwiretest.PaddedSecret, 3).Handshake(b.ctx)
		echo(t, b.join(mtwiretest.PaddedSecret), 3)
		synctest.Wait()
		b.Close()
		for _, r := range ended.wait(t, 4) {
			if !errors.Is(r.Err, errStopping) {
				t.Errorf("%+v", r)
			}
		}
		client := b.connect() // afterwards
		if _, err := client.Read(make([]byte, 1)); err == nil || b.Stats().Accepted != 4 {
			t.Errorf("a connection after Close: %v, %+v", err, b.Stats())
		}
	})
}

// If the poller fails, idle sessions would not be woken: the proxy ends, and Serve
// returns the reason.
func TestProxyEndsIfItsPollerFails(t *testing.T) {
	p := newEchoProxy(t)
	address, _, served := serveUntil(t, p)
	conn := join(t, address, "secret="+mtwiretest.PaddedSecret)
	cause := errors.New("the poller has failed")
	p.fail(cause)
	if err := returned(t, served); err != cause {
		t.Errorf("Serve returned %v", err)
	}
	ended(t, conn)
	if err := p.Serve(context.Background(), listen(t, "tcp", "127.0.0.1:0")); err != cause {
		t.Errorf("the next Serve returned %v", err)
	}
}

// All methods may be called at the same time as sessions come, move bytes and go.
func TestMethodsMayBeCalledConcurrently(t *testing.T) {
	dc, _ := dataCenter(t)
	p, address := startProxy(t, Config{
		DataCenters: allAt(dc),
		Policy:      policyFunc(func(_ context.Context, s Session) (Account, error) { return &selfReportingAccount{s}, nil }),
		Traces:      []*Trace{{Authenticated: func(s Session) { s.Report() }, Dialled: func(s Session) { s.Report() }}},
	})
	var clients, callers sync.WaitGroup
	done := make(chan struct{})
	call := func(f func()) {
		callers.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
					f()
				}
			}
		})
	}
	var kept []Session // some have ended
	call(func() {
		for s := range p.Sessions() {
			s.Report()
			s.User()
			if kept = append(kept, s); len(kept) > 10 {
				kept[0].Report()
				kept[0].Close(errStopping)
				kept = kept[1:]
			}
		}
	})
	call(func() { p.Stats() })
	call(func() { p.Users() })
	list := []User{*p.Users()[0]}
	call(func() { p.SetUsers(list) })
	for i := range 4 {
		secret := []string{mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret}[i%2]
		clients.Go(func() {
			for range 20 {
				conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?secret="+secret, nil)
				if err != nil {
					continue // closed by the first caller
				}
				conn.Send(short(t), payload(1000))
				conn.Receive(short(t))
				conn.Close()
			}
		})
	}
	clients.Wait()
	close(done)
	callers.Wait()
	eventually(t, "all sessions end", func() bool { return p.Stats().Open == 0 })
}

// selfReportingAccount calls its session's methods from those that the session
// calls.
type selfReportingAccount struct{ s Session }

func (a *selfReportingAccount) Moved(Direction, int)               { a.s.Report() }
func (a *selfReportingAccount) Delay(Direction, int) time.Duration { a.s.Report(); return 0 }
func (a *selfReportingAccount) Wait() time.Duration                { a.s.Report(); return 0 }
func (a *selfReportingAccount) Done(Report)                        { a.s.Close(errStopping) }
