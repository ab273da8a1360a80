package users

import (
	"context"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/mtwire/mtwire/proxy"
)

// every is a limit of each kind, of which none is reached.
var every = Limits{
	Expires:        time.Now().AddDate(1, 0, 0),
	MaxConnections: 1 << 20,
	MaxAddresses:   10,
	Networks:       []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	Quota:          Quota{Bytes: 1 << 60, Period: Monthly},
	RateUp:         1 << 40,
	RateDown:       1 << 40,
}

// BenchmarkConnection is what a connection costs beside its sockets and ciphers: it is
// admitted, sends and receives once, and ends. Of two users one has no other connection
// meanwhile, and the other one has some.
func BenchmarkConnection(b *testing.B) {
	list := make([]User, 1000)
	for i := range list {
		list[i] = User{Name: strconv.Itoa(i), Limits: every}
	}
	for _, c := range []struct {
		name string
		open int
	}{{"alone", 0}, {"beside others", 50}} {
		b.Run(c.name, func(b *testing.B) {
			p := newPolicy(list...)
			for range c.open {
				if _, err := admit(p, "7", client); err != nil {
					b.Fatal(err)
				}
			}
			s := newSession("7", client)
			report := s.Report()
			b.ReportAllocs()
			for b.Loop() {
				connect(b, p, s, report)
			}
		})
	}
}

// connect is a connection of s, which is in the report at its end.
func connect(tb testing.TB, p *Policy, s *session, report proxy.Report) {
	account, err := p.Admit(context.Background(), s)
	if err != nil {
		tb.Fatal(err)
	}
	for _, d := range []proxy.Direction{proxy.Upload, proxy.Download} {
		account.Moved(d, 1000)
		account.Delay(d, 1000)
	}
	account.Done(report)
}

// A connection of a user with all limits allocates its account, and nothing else.
func TestAConnectionAllocatesItsAccountOnly(t *testing.T) {
	p, s := newPolicy(alice(every)), newSession("alice", client)
	report := s.Report()
	if n := testing.AllocsPerRun(100, func() { connect(t, p, s, report) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// The count of a quota begins anew for connections one after the other, too, for which the
// calendar is asked once in a period, and after the clock was set back and on again.
func TestTheQuotaBeginsAnewBetweenConnections(t *testing.T) {
	now := time.Date(2026, 11, 28, 23, 59, 0, 0, time.UTC)
	p := New(Config{Time: func() time.Time { return now }})
	p.Set([]User{alice(Limits{Quota: Quota{Bytes: 1 << 20, Period: Daily}})})
	s := newSession("alice", client)
	for _, c := range []struct {
		now  time.Duration
		used int64
	}{{0, 2000}, {0, 4000}, {time.Minute, 2000}, {time.Minute, 4000}, {25 * time.Hour, 2000}, {0, 4000}, {25 * time.Hour, 6000}, {49 * time.Hour, 2000}} {
		began := now
		now = began.Add(c.now)
		connect(t, p, s, s.Report())
		if used := usageOf(t, p, "alice").Used(); used != c.used {
			t.Errorf("after %v: %d bytes are used, want %d", c.now, used, c.used)
		}
		now = began
	}
}
