package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// testAccount counts bytes, and pauses as delay demands.
type testAccount struct {
	delay func(d Direction, n int) time.Duration // nil means never
	wait  func() time.Duration                   // nil means never

	mu      sync.Mutex
	moved   [2]int64
	delayed [2]int64 // bytes that Delay was called with
	demand  [2]time.Duration
	last    [2]time.Duration // of demand
	done    []Report
}

func (a *testAccount) Moved(d Direction, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.moved[d] += int64(n)
}

func (a *testAccount) Delay(d Direction, n int) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.delayed[d] += int64(n)
	if a.delay == nil {
		return 0
	}
	delay := a.delay(d, n)
	a.demand[d], a.last[d] = a.demand[d]+delay, delay
	return delay
}

func (a *testAccount) Wait() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wait == nil {
		return 0
	}
	return a.wait()
}

func (a *testAccount) Done(r Report) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = append(a.done, r)
}

// reports returns what Done was called with.
func (a *testAccount) reports() []Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.done)
}

// admitTo returns a policy that admits every session to one account.
func admitTo(a Account) Policy {
	return policyFunc(func(context.Context, Session) (Account, error) { return a, nil })
}

// The policy is asked once for each client, when it has shown its secret and before a
// data centre is dialled. Clients without one do not reach it.
func TestPolicyIsAskedBeforeTheDial(t *testing.T) {
	for _, secret := range []string{mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		var asked []Report
		hosts := map[string]func(net.Conn){"dc.test:443": echoing(10)}
		config := Config{
			DataCenters: at("dc.test:443"),
			Policy: policyFunc(func(ctx context.Context, s Session) (Account, error) {
				asked = append(asked, s.Report())
				if ctx.Err() != nil || s.User().Name != "alice" || s.ClientAddr().String() != clientAddress.IP.String() {
					t.Errorf("%v, %v, %v", ctx.Err(), s.User(), s.ClientAddr())
				}
				return nil, nil
			}),
		}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			b.connect().Write(make([]byte, 500))
			synctest.Wait()
			if len(asked) != 0 {
				t.Error("the policy is asked about an unauthenticated client")
			}
			conn := b.join(secret)
			echo(t, conn, 3)
			echo(t, conn, 3)
			if len(asked) != 1 {
				t.Fatalf("the policy is asked %d times", len(asked))
			}
			if r := asked[0]; r.Stage != ClientBytes || r.Client != clientAddress.String() || r.Upstream != "" {
				t.Errorf("%+v", r)
			}
		})
	}
}

// Admit's context ends if the session is closed meanwhile. That is no refusal.
func TestPolicyIsInterruptedByTheEndOfTheSession(t *testing.T) {
	ended := &reports{}
	config := Config{
		Traces: []*Trace{ended.trace()},
		Policy: policyFunc(func(ctx context.Context, _ Session) (Account, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}),
	}
	inBubble(t, config, nil, func(t *testing.T, b *bubble) {
		b.join(mtwiretest.PaddedSecret).Handshake(b.ctx)
		synctest.Wait()
		b.closeAll(errStopping)
		if r := ended.wait(t, 1)[0]; !errors.Is(r.Err, errStopping) {
			t.Errorf("%+v", r)
		}
		if s := b.Stats(); s.Refused != 0 || s.Unreachable != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// All bytes of a session are moved on its account, in every mode, with fast mode
// and without, and Delay is called with them: those that came with the handshake too.
func TestAccountCountsEveryByte(t *testing.T) {
	dc, _ := dataCenter(t)
	for _, disableFastMode := range []bool{false, true} {
		for _, m := range mtwiretest.ProxiedModes() {
			account := &testAccount{}
			address := start(t, Config{DataCenters: allAt(dc), Policy: admitTo(account), DisableFastMode: disableFastMode})
			conn, err := mtwire.Dial(short(t), m.Endpoint(address), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, blocks := range []int{3, 20000, 64} {
				echo(t, conn, blocks)
			}
			conn.Close()
			eventually(t, "the session ends", func() bool { return len(account.reports()) > 0 })
			r := account.reports()[0]
			if r.Up != account.moved[Upload] || r.Down != account.moved[Download] || r.Up < 16*20000 || r.Down < 16*20000 {
				t.Errorf("%s: %d bytes up and %d down of %+v are moved", m.Transport, account.moved[Upload], account.moved[Download], r)
			}
			if account.delayed != account.moved {
				t.Errorf("%s: Delay is called with %d bytes, and %d are moved", m.Transport, account.delayed, account.moved)
			}
		}
	}
}

// Done is called once for each session that has an account, with the report that
// Closed has: also if the session does not come as far as its data centre.
func TestAccountIsDoneOnce(t *testing.T) {
	hosts := map[string]func(net.Conn){"silent.test:443": nil, "echo.test:443": echoing(10)}
	for name, c := range map[string]struct {
		address     string
		use         func(t *testing.T, b *bubble, conn *mtwire.Conn)
		stage       Stage
		unreachable int64
	}{
		"closed during the dial": {"silent.test:443", func(t *testing.T, b *bubble, conn *mtwire.Conn) {
			conn.Handshake(b.ctx)
			synctest.Wait()
			b.closeAll(errStopping)
		}, Authenticated, 0},
		"unreachable": {"nowhere.test:443", func(t *testing.T, b *bubble, conn *mtwire.Conn) { conn.Handshake(b.ctx) }, Authenticated, 1},
		"a normal end": {"echo.test:443", func(t *testing.T, b *bubble, conn *mtwire.Conn) {
			echo(t, conn, 3)
			conn.Close()
		}, FirstByteDown, 0},
		"closed while relaying": {"echo.test:443", func(t *testing.T, b *bubble, conn *mtwire.Conn) {
			echo(t, conn, 3)
			b.closeAll(errStopping)
			b.closeAll(errStopping)
		}, FirstByteDown, 0},
	} {
		account, ended := &testAccount{}, &reports{}
		config := Config{DataCenters: at(c.address), Policy: admitTo(account), Traces: []*Trace{ended.trace()}}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			c.use(t, b, b.join(mtwiretest.PaddedSecret))
			time.Sleep(2 * time.Minute) // pipes have no half-close
			done := account.reports()
			if len(done) != 1 || done[0] != ended.wait(t, 1)[0] || done[0].Stage != c.stage {
				t.Errorf("%s: %+v", name, done)
			}
			if s := b.Stats(); s.Unreachable != c.unreachable || s.Open != 0 {
				t.Errorf("%s: %+v", name, s)
			}
		})
	}
}

// A download takes at least the time that Delay demands, in records and spliced.
// The upload beside it, for which Delay returns 0, does not wait.
func TestDelayThrottlesOneDirection(t *testing.T) {
	t.Parallel()
	dc, _ := dataCenter(t)
	for _, secret := range []string{mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		if err := loopback.Undisturbed(200*time.Millisecond, func() error { return throttledDownload(t, dc, secret) }); err != nil {
			t.Error(err)
		}
	}
}

func throttledDownload(t *testing.T, dc net.Addr, secret string) error {
	account := &testAccount{delay: func(d Direction, n int) time.Duration {
		if d == Upload {
			return 0
		}
		return time.Duration(n) * time.Second / (2 << 20) // 2 MiB a second
	}}
	p, address := startProxy(t, Config{DataCenters: allAt(dc), Policy: admitTo(account)})
	conn := dial(t, address, "secret="+secret)
	const blocks = 2 << 20 / 16
	begin := time.Now()
	sent := make(chan time.Duration, 1)
	go func() {
		conn.Send(short(t), payload(blocks))
		for p.Stats().Up < 16*blocks {
			time.Sleep(time.Millisecond)
		}
		sent <- time.Since(begin)
	}()
	if _, err := conn.Receive(short(t)); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	account.mu.Lock()
	demand, last := account.demand[Download], account.last[Download]
	account.mu.Unlock()
	if least := demand - last; took < least || least < 600*time.Millisecond {
		t.Errorf("it took %v, and %v were demanded", took, least)
	}
	if up := <-sent; up > took/2 { // of which a process that is held up may lose any part
		return fmt.Errorf("the upload took %v of %v", up, took)
	}
	return nil
}

// A session waits for what other ones owe before the data centre is dialled, for as long
// as there is more of it, and is closed at once meanwhile.
func TestASessionWaitsForWhatOthersOwe(t *testing.T) {
	dialled := make(chan time.Time, 1)
	hosts := map[string]func(net.Conn){"dc.test:443": func(conn net.Conn) {
		dialled <- time.Now()
		echoing(10)(conn)
	}}
	for _, secret := range []string{mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		owed := 3 * time.Second
		account := &testAccount{wait: func() time.Duration {
			pause := min(time.Second, owed)
			owed -= pause
			return pause
		}}
		inBubble(t, Config{DataCenters: at("dc.test:443"), Policy: admitTo(account)}, hosts, func(t *testing.T, b *bubble) {
			begin := time.Now()
			echo(t, b.join(secret), 3)
			if waited := (<-dialled).Sub(begin); waited != 3*time.Second {
				t.Errorf("the data centre is dialled after %v", waited)
			}
			account.mu.Lock()
			owed = time.Hour
			account.mu.Unlock()
			begin = time.Now()
			b.join(secret).Handshake(b.ctx)
			synctest.Wait()
			b.closeAll(errStopping)
			done := account.reports()
			waited := slices.IndexFunc(done, func(r Report) bool { return r.Stage == Authenticated })
			if len(done) != 2 || waited < 0 || !errors.Is(done[waited].Err, errStopping) || time.Since(begin) != 0 {
				t.Errorf("%+v after %v", done, time.Since(begin))
			}
		})
	}
}

// A session that pauses is closed at once.
func TestPauseEndsWithItsSession(t *testing.T) {
	account := &testAccount{delay: func(d Direction, n int) time.Duration { return time.Duration(n) * time.Hour }}
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(10)}
	inBubble(t, Config{DataCenters: at("dc.test:443"), Policy: admitTo(account)}, hosts, func(t *testing.T, b *bubble) {
		echo(t, b.join(mtwiretest.FakeTLSSecret), 3)
		begin := time.Now()
		closeProxy(t, b.Proxy)
		if done := account.reports(); len(done) != 1 || time.Since(begin) != 0 {
			t.Errorf("%+v after %v", done, time.Since(begin))
		}
	})
}
