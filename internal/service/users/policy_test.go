package users

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/proxy"
)

// Each limit refuses the clients that it should, with its cause, and no others.
func TestEachLimitRefusesItsClients(t *testing.T) {
	p := newPolicy(
		User{Name: "free"},
		User{Name: "disabled", Limits: Limits{Disabled: true}},
		User{Name: "expired", Limits: Limits{Expires: time.Now()}},
		User{Name: "later", Limits: Limits{Expires: time.Now().Add(time.Hour)}},
		User{Name: "two", Limits: Limits{MaxConnections: 2}},
		User{Name: "near", Limits: Limits{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}}},
	)
	admitted(t, p, "free", client)
	admitted(t, p, "free", "@")
	refused(t, p, "nobody", client, Removed)
	refused(t, p, "disabled", client, Disabled)
	refused(t, p, "expired", client, Expired)
	admitted(t, p, "later", client)
	first := admitted(t, p, "two", client)
	admitted(t, p, "two", client)
	refused(t, p, "two", client, OverConnections)
	first.Close(nil)
	first.Close(errors.New("again"))
	admitted(t, p, "two", client)
	refused(t, p, "two", client, OverConnections)
	admitted(t, p, "near", client)
	admitted(t, p, "near", "[::ffff:192.0.2.1]:1")
	admitted(t, p, "near", "[2001:db8::1]:1")
	refused(t, p, "near", "198.51.100.1:1", OtherNetwork)
	refused(t, p, "near", "@", OtherNetwork)
	want := [Causes]int64{Removed: 1, Disabled: 1, Expired: 1, OverConnections: 2, OtherNetwork: 2}
	if got := p.Refused(); got != want {
		t.Errorf("refused: %v, want %v", got, want)
	}
	if usage := usageOf(t, p, "two"); usage.Connections != 2 || usage.Addresses != 1 || usage.Refused[OverConnections] != 2 {
		t.Errorf("%+v", usage)
	}
}

// Limits hold when clients come and go at the same time: there are never more
// connections and addresses than allowed, and all that was taken is given back.
func TestLimitsHoldUnderConcurrency(t *testing.T) {
	const most, addresses = 7, 3
	p := newPolicy(alice(Limits{MaxConnections: most, MaxAddresses: addresses, AddressWindow: -1, RateDown: 1 << 40}))
	var clients sync.WaitGroup
	for i := range 50 {
		clients.Go(func() {
			for n := range 200 {
				s, err := admit(p, "alice", fmt.Sprintf("192.0.2.%d:1", (i+n)%5))
				if err != nil {
					continue
				}
				if usage := usageOf(t, p, "alice"); usage.Connections > most || usage.Addresses > addresses {
					t.Errorf("%+v", usage)
				}
				s.account.Moved(proxy.Download, 10)
				s.account.Delay(proxy.Download, 10)
				s.Close(nil)
			}
		})
	}
	clients.Go(func() {
		for n := range 200 {
			p.Set([]User{alice(Limits{MaxConnections: most, MaxAddresses: addresses, AddressWindow: -1, RateDown: int64(n%2) << 40})})
			p.check()
		}
	})
	clients.Wait()
	usage := usageOf(t, p, "alice")
	if usage.Connections != 0 || usage.Addresses != 0 || usage.Down%10 != 0 || usage.Down == 0 {
		t.Errorf("%+v", usage)
	}
	if active := p.takeActive(); len(active) != 0 {
		t.Error("a user without sessions is active")
	}
}

// An address counts while it has connections, and for the window after them. An IPv6
// network of 64 bits is one, and so is an IPv4 address in either form.
func TestAddressesCountForTheirWindow(t *testing.T) {
	make := func() *Policy { return newPolicy(alice(Limits{MaxAddresses: 2})) }
	running(t, make, func(t *testing.T, p *Policy) {
		first := admitted(t, p, "alice", "192.0.2.1:1")
		admitted(t, p, "alice", "[2001:db8::1]:1")
		admitted(t, p, "alice", "[2001:db8::ffff:1]:9")
		admitted(t, p, "alice", "[::ffff:192.0.2.1]:5").Close(nil)
		admitted(t, p, "alice", "@")
		refused(t, p, "alice", "192.0.2.2:1", OverAddresses)
		refused(t, p, "alice", "[2001:db8:0:1::1]:1", OverAddresses)
		time.Sleep(24 * time.Hour)
		refused(t, p, "alice", "192.0.2.2:1", OverAddresses)
		first.Close(nil)
		time.Sleep(DefaultAddressWindow - 1)
		refused(t, p, "alice", "192.0.2.2:1", OverAddresses)
		admitted(t, p, "alice", "192.0.2.1:1").Close(nil) // counts anew
		time.Sleep(DefaultAddressWindow - 1)
		refused(t, p, "alice", "192.0.2.2:1", OverAddresses)
		if usage := usageOf(t, p, "alice"); usage.Addresses != 2 {
			t.Errorf("%d addresses", usage.Addresses)
		}
		time.Sleep(time.Nanosecond)
		admitted(t, p, "alice", "192.0.2.2:1")
	})
}

// The addresses of a user that is removed and comes back, or whose limit does, are those
// of its sessions, each once, and those of sessions that ended before.
func TestAddressesAreCountedOnceAfterARemoval(t *testing.T) {
	limited := alice(Limits{MaxAddresses: 1})
	for name, without := range map[string][]User{"removed": nil, "no limit": {alice(Limits{})}} {
		running(t, func() *Policy { return newPolicy(limited) }, func(t *testing.T, p *Policy) {
			first, second := admitted(t, p, "alice", "192.0.2.1:1"), admitted(t, p, "alice", "192.0.2.1:2")
			for range 3 {
				p.Set(without)
				p.Set([]User{limited})
			}
			if usage := usageOf(t, p, "alice"); usage.Connections != 2 || usage.Addresses != 1 {
				t.Errorf("%s: %+v", name, usage)
			}
			first.Close(nil)
			time.Sleep(DefaultAddressWindow)
			refused(t, p, "alice", "192.0.2.2:1", OverAddresses)
			p.Set(without)
			second.Close(nil)
			p.Set([]User{limited})
			time.Sleep(DefaultAddressWindow)
			if usage := usageOf(t, p, "alice"); usage.Addresses != 0 {
				t.Errorf("%s: %d addresses without sessions", name, usage.Addresses)
			}
			third := admitted(t, p, "alice", "192.0.2.2:1")
			third.Close(nil)
			p.Set(nil)
			p.Set([]User{limited})
			refused(t, p, "alice", "192.0.2.1:1", OverAddresses) // within the window
		})
	}
}

// A client that does not complete its handshake leaves no address behind: a recorded
// one that is replayed from many addresses locks its user out for no time.
func TestIncompleteHandshakesLeaveNoAddress(t *testing.T) {
	p := newPolicy(alice(Limits{MaxAddresses: 1}))
	for i := range 5 {
		s := admitted(t, p, "alice", fmt.Sprintf("192.0.2.%d:1", i))
		s.stage = proxy.ServerHelloSent
		s.Close(nil)
	}
	if usage := usageOf(t, p, "alice"); usage.Addresses != 0 || usage.Seen != 0 {
		t.Errorf("%+v", usage)
	}
}

// The sessions of a user that may not go on are closed within a second, with the cause,
// and those of others stay.
func TestSessionsEndWithinASecond(t *testing.T) {
	for cause, change := range map[Cause]func(p *Policy, s *session){
		Disabled: func(p *Policy, _ *session) { p.Set([]User{alice(Limits{Disabled: true}), {Name: "bob"}}) },
		Removed:  func(p *Policy, _ *session) { p.Set([]User{{Name: "bob"}}) },
		Expired: func(p *Policy, _ *session) {
			p.Set([]User{alice(Limits{Expires: time.Now().Add(time.Hour)}), {Name: "bob"}})
			time.Sleep(time.Hour - 1)
		},
		OverQuota: func(p *Policy, s *session) {
			p.Set([]User{alice(Limits{Quota: Quota{Bytes: 1000}}), {Name: "bob"}})
			s.account.Moved(proxy.Upload, 400)
			s.account.Moved(proxy.Download, 599)
			time.Sleep(time.Hour)
			if s.cause() != nil {
				t.Errorf("closed at 999 bytes: %v", s.cause())
			}
			s.account.Moved(proxy.Upload, 1)
		},
	} {
		running(t, func() *Policy { return newPolicy(alice(Limits{}), User{Name: "bob"}) }, func(t *testing.T, p *Policy) {
			var sessions []*session
			for range 100 {
				sessions = append(sessions, admitted(t, p, "alice", client))
			}
			other := admitted(t, p, "bob", client)
			time.Sleep(time.Minute)
			change(p, sessions[0])
			since := time.Now()
			time.Sleep(time.Second)
			synctest.Wait()
			for _, s := range sessions {
				var refusal *Refusal
				if !errors.As(s.cause(), &refusal) || refusal.Cause != cause || s.at.Sub(since) >= time.Second {
					t.Fatalf("%v: closed by %v after %v", cause, s.cause(), s.at.Sub(since))
				}
			}
			if other.cause() != nil {
				t.Errorf("%v: bob's session is closed: %v", cause, other.cause())
			}
			refused(t, p, "alice", client, cause)
		})
	}
}

// Changes of other limits leave the sessions alone, and hold for those to come.
func TestLowerLimitsLeaveSessionsAlone(t *testing.T) {
	running(t, func() *Policy { return newPolicy(alice(Limits{})) }, func(t *testing.T, p *Policy) {
		first, second := admitted(t, p, "alice", client), admitted(t, p, "alice", "192.0.2.8:1")
		p.Set([]User{alice(Limits{MaxConnections: 1, MaxAddresses: 1, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})})
		time.Sleep(time.Minute)
		if first.cause() != nil || second.cause() != nil {
			t.Error(first.cause(), second.cause())
		}
		p.Set([]User{alice(Limits{MaxAddresses: 2})})
		refused(t, p, "alice", "192.0.2.9:1", OverAddresses)
		admitted(t, p, "alice", client)
	})
}

// A user that is removed and comes back has its usage, also that of sessions that ended
// meanwhile. After Forget it has none.
func TestUsageOutlivesARemoval(t *testing.T) {
	p := newPolicy(alice(Limits{}))
	s := admitted(t, p, "alice", client)
	s.account.Moved(proxy.Download, 5)
	p.Set(nil)
	if _, _, ok := p.Usage("alice"); ok || p.ResetUsage("alice") {
		t.Error("a user that was removed has a usage")
	}
	s.account.Moved(proxy.Download, 7)
	s.Close(nil)
	p.Set([]User{alice(Limits{})})
	if usage := usageOf(t, p, "alice"); usage.Down != 12 || usage.Used() != 12 || usage.Seen == 0 {
		t.Errorf("%+v", usage)
	}
	p.Forget("alice") // there is one
	if !p.ResetUsage("alice") || usageOf(t, p, "alice").Used() != 0 || usageOf(t, p, "alice").Down != 12 {
		t.Errorf("%+v", usageOf(t, p, "alice"))
	}
	p.Set(nil)
	p.Forget("alice")
	p.Set([]User{alice(Limits{})})
	if usage := usageOf(t, p, "alice"); usage.Counter != (Counter{Name: "alice"}) {
		t.Errorf("%+v", usage)
	}
}

// What a session counts that goes on for a moment after Forget is dropped: its user has no
// usage, also if it is added again, and the session ends.
func TestUsageOfOpenSessionsIsForgotten(t *testing.T) {
	p := newPolicy(alice(Limits{}))
	before, after := admitted(t, p, "alice", client), admitted(t, p, "alice", client)
	p.Set(nil)
	p.Forget("alice")
	before.account.Moved(proxy.Download, 5)
	before.Close(nil)
	if counters := p.Counters(nil); len(counters) != 0 {
		t.Errorf("%+v", counters)
	}
	p.Set([]User{alice(Limits{})})
	after.account.Moved(proxy.Download, 7)
	if usage := usageOf(t, p, "alice"); usage.Counter != (Counter{Name: "alice"}) || usage.Connections != 0 {
		t.Errorf("%+v", usage)
	}
	p.check()
	var refusal *Refusal
	if !errors.As(after.cause(), &refusal) || refusal.Cause != Removed {
		t.Error(after.cause())
	}
	if counters := p.Counters(nil); len(counters) != 0 {
		t.Errorf("%+v", counters)
	}
}

// Refusals are logged once a minute for each user and cause, with their number, and the
// log of an attack on many users is bounded.
func TestRefusalsAreLogged(t *testing.T) {
	var text logText
	make := func() *Policy {
		p := New(Config{Log: slog.New(slog.NewTextHandler(&text, nil))})
		list := []User{alice(Limits{Disabled: true})}
		for i := range 100 {
			list = append(list, User{Name: fmt.Sprint("u", i), Limits: Limits{Disabled: true}})
		}
		p.Set(list)
		return p
	}
	running(t, make, func(t *testing.T, p *Policy) {
		for range 5 {
			admit(p, "alice", client)
		}
		time.Sleep(refusalInterval)
		admit(p, "alice", client)
		lines := text.lines("user=alice cause=disabled")
		if len(lines) != 2 || !strings.Contains(lines[0], "refused=1") || !strings.Contains(lines[1], "refused=5") {
			t.Errorf("%q", lines)
		}
		time.Sleep(2 * refusalInterval)
		for i := range 100 {
			admit(p, fmt.Sprint("u", i), client)
		}
		time.Sleep(2 * refusalInterval)
		synctest.Wait()
		lines, rest := text.lines("user=u"), text.lines("more clients")
		if len(lines) != maxRefusalLines || len(rest) != 1 || !strings.Contains(rest[0], "refused=80") {
			t.Errorf("%d lines, %q", len(lines), rest)
		}
	})
}

// The longest window that can be written does not end before it has begun.
func TestTheLongestWindowCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPolicy(alice(Limits{MaxAddresses: 1, AddressWindow: math.MaxInt64}))
		time.Sleep(time.Hour)
		admitted(t, p, "alice", client).Close(nil)
		refused(t, p, "alice", "192.0.2.8:4567", OverAddresses)
	})
}
