package users

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/proxy"
)

// share makes to know what from has of its users, as JSON.
func share(t *testing.T, from, to *Policy) {
	t.Helper()
	for s := range from.Shares() {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var again Share
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatal(err)
		}
		to.Add(again)
	}
}

// Sessions and addresses of the process before count until it has ended, those of the one
// before that as well. Sessions that go on in the next process count on in the old one.
func TestSessionsElsewhereCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := alice(Limits{MaxConnections: 3, MaxAddresses: 2, AddressWindow: time.Minute})
		first, second, third := newPolicy(limits), newPolicy(limits), newPolicy(limits)
		one := admitted(t, first, "alice", "192.0.2.1:1")
		share(t, first, second)
		two := admitted(t, second, "alice", "192.0.2.2:1")
		refused(t, second, "alice", "192.0.2.3:1", OverAddresses)
		share(t, second, third)
		refused(t, third, "alice", "192.0.2.3:1", OverAddresses)
		three := admitted(t, third, "alice", "192.0.2.1:2")
		refused(t, third, "alice", "192.0.2.1:3", OverConnections)

		one.Close(nil)
		share(t, first, second)
		two.account.(proxy.Releaser).Released(two.Report())
		refused(t, second, "alice", "192.0.2.3:1", OverAddresses)
		share(t, second, third)
		admitted(t, third, "alice", "192.0.2.1:3").Close(nil)
		three.Close(nil)
		refused(t, third, "alice", "192.0.2.3:1", OverAddresses) // 1 and 2 count for a minute
		third.Alone()
		time.Sleep(time.Minute + 1)
		for i := range 3 {
			admitted(t, third, "alice", fmt.Sprint("192.0.2.3:", i))
		}
	})
}

// Users with many addresses have all of them in the next process.
func TestManyAddressesElsewhereCount(t *testing.T) {
	limits := alice(Limits{MaxAddresses: 1000})
	before, after := newPolicy(limits), newPolicy(limits)
	for i := range 1000 {
		admitted(t, before, "alice", fmt.Sprintf("192.0.%d.%d:1", i/250, i%250))
	}
	share(t, before, after)
	refused(t, after, "alice", "198.51.100.1:1", OverAddresses)
	admitted(t, after, "alice", "192.0.3.249:2")
}

// Bytes that only the other process has counted are part of the quota, and those that the
// store has had count once.
func TestBytesElsewhereCountOnce(t *testing.T) {
	limits := alice(Limits{Quota: Quota{Bytes: 1000}})
	before, after := newPolicy(limits), newPolicy(limits)
	began := []Counter{{Name: "alice", Up: 300, Schedule: "none"}}
	before.Restore(began)
	after.Restore(began)
	s := admitted(t, before, "alice", client)
	share(t, before, after)
	own := admitted(t, after, "alice", client)
	own.account.Moved(proxy.Upload, 300)
	s.account.Moved(proxy.Download, 399)
	share(t, before, after)
	admitted(t, after, "alice", client) // 999
	s.account.Moved(proxy.Download, 1)
	share(t, before, after)
	refused(t, after, "alice", client, OverQuota)

	after.Merge(began, before.Counters(nil))
	if u := usageOf(t, after, "alice"); u.Used() != 1000 {
		t.Errorf("%+v", u.Counter)
	}
	share(t, before, after) // which is late
	after.ResetUsage("alice")
	admitted(t, after, "alice", client)
}

// While another process may have sessions of a user, each has half of its rate.
func TestRatesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := alice(Limits{RateDown: 1000_000})
		before, p := newPolicy(limits), newPolicy(limits)
		pause := func() time.Duration {
			s := admitted(t, p, "alice", client)
			defer s.Close(nil)
			d := s.account.Delay(proxy.Download, 1000_000)
			time.Sleep(10 * time.Second)
			return d.Round(100 * time.Millisecond)
		}
		p.ShareRates(true)
		if d := pause(); d != 2*time.Second {
			t.Errorf("before the sessions of the process before are known: %v", d)
		}
		old := admitted(t, before, "alice", client)
		share(t, before, p)
		p.ShareRates(false)
		if d := pause(); d != 2*time.Second {
			t.Errorf("while the process before has a session: %v", d)
		}
		old.Close(nil)
		share(t, before, p)
		if d := pause(); d > time.Second {
			t.Errorf("when that has ended: %v", d)
		}
	})
}

// Of a user that is not there, nothing is taken over.
func TestUnknownUsersElsewhere(t *testing.T) {
	before, p := newPolicy(alice(Limits{}), User{Name: "bob"}), newPolicy(User{Name: "bob"})
	admitted(t, before, "alice", client)
	for s := range before.Shares() {
		if p.Add(s) {
			t.Errorf("%+v was taken over", s)
		}
	}
	if !p.Add(Share{User: "bob", Sessions: -1}) || usageOf(t, p, "bob").Connections != 0 {
		t.Error("a number that is none")
	}
}

// A user that may not go on here, and has sessions in the process before, is one whose sessions
// that is to end. Users without sessions there, and those that may go on, are not.
func TestUsersThatMayNotGoOnAreStoppedElsewhere(t *testing.T) {
	users := []User{{Name: "alice"}, {Name: "bob"}, {Name: "carol", Limits: Limits{Disabled: true}}, {Name: "dan"}}
	before, p := newPolicy(users[0], users[1], User{Name: "carol"}, users[3]), newPolicy(users...)
	for _, name := range []string{"alice", "bob", "carol"} {
		admitted(t, before, name, client)
	}
	share(t, before, p)
	p.Set([]User{{Name: "alice", Limits: Limits{Disabled: true}}, users[1], users[2], {Name: "dan", Limits: Limits{Disabled: true}}})
	names := p.StoppedElsewhere()
	slices.Sort(names)
	if want := []string{"alice", "carol"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	p.Set(users[2:])
	if names = p.StoppedElsewhere(); !slices.Contains(names, "bob") {
		t.Errorf("%q, without a user that was removed", names)
	}
	p.Forget("bob")
	p.Set(users[3:])
	if names = p.StoppedElsewhere(); !slices.Contains(names, "bob") {
		t.Errorf("%q, without a user that was removed for good", names)
	}
	p.Alone()
	if names = p.StoppedElsewhere(); len(names) > 0 {
		t.Errorf("%q, and the process before has ended", names)
	}
}

// Half of the largest rate is one: it is not beyond what a number can be.
func TestHalfOfTheLargestRate(t *testing.T) {
	p := newPolicy(alice(Limits{RateUp: 1, RateDown: math.MaxInt64}))
	admitted(t, p, "alice", client)
	p.ShareRates(true)
	rates := &p.find("alice").activity.rates
	if up, down := rates[proxy.Upload].Load().limit, rates[proxy.Download].Load().limit; up != 1 || down != 1<<62 {
		t.Errorf("%g, %g", up, down)
	}
}

// Whatever another process tells of a user, this one counts no less than nothing, and the limits
// of what it has itself hold.
func FuzzShare(f *testing.F) {
	f.Add([]byte(`{"user":"alice","sessions":1,"addresses":[{"network":"192.0.2.1","clients":1,"until":5}],"counter":{"user":"alice","up":5,"down":7},"bytes":12,"used":12}`))
	f.Add([]byte(`{"user":"alice","sessions":9223372036854775807,"bytes":9223372036854775807,"used":9223372036854775807}`))
	f.Add([]byte(`{"user":"alice","addresses":[{"network":"::1","clients":9223372036854775807,"until":9223372036854775807}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Share
		if json.Unmarshal(b, &s) != nil {
			return
		}
		p := newPolicy(alice(Limits{MaxConnections: 2, MaxAddresses: 2, Quota: Quota{Bytes: 1000}}))
		p.Add(s)
		p.SetRoom(GreaterHalf)
		if one, err := admit(p, "alice", client); err == nil {
			one.account.Moved(proxy.Upload, 1000)
			refused(t, p, "alice", client, OverQuota)
		}
		for again := range p.Shares() {
			if again.Sessions < 0 || again.Bytes < 0 || again.Used < 0 {
				t.Errorf("%+v", again)
			}
		}
		p.Alone()
	})
}
