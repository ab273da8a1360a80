package users

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// flow is a connection in a simulation: it moves chunk bytes at once, and pauses.
type flow struct {
	waiter
	wake  time.Duration
	chunk int
	moved int
}

// simulate lets flows move as many bytes as r allows, from one time to another. A pause
// ends up to late after its time.
func simulate(r *rate, flows []*flow, from, to, late time.Duration) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, f := range flows {
		f.wake = from
	}
	for {
		f := slices.MinFunc(flows, func(a, b *flow) int { return cmp.Compare(a.wake, b.wake) })
		if f.wake >= to {
			return
		}
		now := f.wake
		if f.wake += r.delay(&f.waiter, 0, now); f.wake > now {
			continue
		}
		f.moved += f.chunk
		pause := r.delay(&f.waiter, f.chunk, now)
		if pause > 0 {
			pause += time.Duration(random.Int64N(int64(late) + 1))
		}
		f.wake = now + pause + 10*time.Microsecond // which the chunk takes to move
	}
}

func total(flows []*flow) (n int) {
	for _, f := range flows {
		n += f.moved
	}
	return n
}

// Connections reach 98 to 102 percent of the rate together, from 64 KiB to 100 MiB a
// second, one and fifty of them, whatever they move at once and although timers are
// late. Each has its equal share if timers are on time.
func TestRatesAreReachedAndShared(t *testing.T) {
	for _, limit := range []int64{64 << 10, 1 << 20, 10 << 20, 100 << 20} {
		for _, n := range []int{1, 2, 50} {
			for name, chunk := range map[string]func(i int) int{
				"equal chunks": func(int) int { return 16 << 10 },
				"mixed chunks": func(i int) int { return (1 + i%4) * 16 << 10 },
			} {
				for _, late := range []time.Duration{0, 2 * time.Millisecond} {
					t.Log(limit>>10, "KiB a second,", n, "connections,", name, late)
					r := newRate(limit, 0)
					var flows []*flow
					for i := range n {
						flows = append(flows, &flow{chunk: chunk(i)})
					}
					// Long enough for the first chunks, which are moved before the first pause, and
					// for enough of them afterwards.
					round := time.Duration(n*64<<10) * time.Second / time.Duration(limit)
					warm := max(2*round, time.Second)
					simulate(r, flows, 0, warm, late)
					before := total(flows)
					for _, f := range flows {
						f.moved = 0
					}
					last := max(100*round, 10*time.Second)
					simulate(r, flows, warm, warm+last, late)
					if share := float64(total(flows)) / (float64(limit) * last.Seconds()); share < 0.98 || share > 1.02 {
						t.Errorf("%.1f %% of the rate, after %d bytes", share*100, before)
					}
					each := float64(limit) * last.Seconds() / float64(n)
					for i, f := range flows {
						if share := float64(f.moved) / each; late == 0 && (share < 0.97 || share > 1.03) {
							t.Errorf("connection %d has %.2f of its share", i, share)
						}
					}
				}
			}
		}
	}
}

// A connection that needs less than its share waits for a few chunks of the others at
// most, and they have the rest.
func TestAModestConnectionDoesNotQueue(t *testing.T) {
	const limit = 1 << 20
	r := newRate(limit, 0)
	var greedy []*flow
	for range 10 {
		greedy = append(greedy, &flow{chunk: 16 << 10})
	}
	modest := &waiter{}
	for second := range 60 {
		from := time.Duration(second) * time.Second
		simulate(r, greedy, from, from+time.Second, 0)
		if pause := r.delay(modest, 1<<10, from+time.Second); pause > 20*time.Millisecond {
			t.Errorf("a message waits for %v", pause)
		}
	}
	if share := float64(total(greedy)+60<<10) / (60 * limit); share < 0.98 || share > 1.05 {
		t.Errorf("%.1f %% of the rate", share*100)
	}
}

// Connections that end, or stay and wait, and others in their place, have no more than the
// rate, however little each moves. What waits does not grow with the number of those that have
// ended.
func TestReconnectingDoesNotEvadeTheRate(t *testing.T) {
	const limit, chunk = 64 << 10, 16 << 10
	for _, test := range []struct {
		at     int // connections at once
		chunks int // of each after the first
		stay   bool
	}{
		{1, 0, false}, {1, 1, false}, {1, 2, false}, {10, 0, false}, {10, 1, false}, {10, 2, false}, {1, 0, true}, {10, 2, true},
	} {
		at := test.at
		r := newRate(limit, 0)
		wakes, flows, moved := make([]time.Duration, at), make([]*waiter, at), make([]int, at)
		sum, most, now := 0, 0, time.Duration(0)
		for now < 10*time.Minute && sum < 2*600*limit {
			i := slices.Index(wakes, slices.Min(wakes))
			now = wakes[i]
			w := flows[i]
			if w == nil {
				w = new(waiter)
				flows[i] = w
			}
			if pause := r.delay(w, 0, now); pause > 0 {
				wakes[i] += pause
				continue
			}
			sum += chunk
			pause := r.delay(w, chunk, now)
			if moved[i]++; moved[i] > test.chunks {
				if !test.stay {
					r.leave(w, now)
				}
				flows[i], moved[i], pause = nil, 0, 0 // and another one at once
			}
			wakes[i] += pause + 10*time.Microsecond
			waiting := len(r.waiting)
			if r.left.waiting {
				waiting--
			}
			most = max(most, waiting)
		}
		if share := float64(sum) / (limit * now.Seconds()); share < 0.95 || share > 1.02 {
			t.Errorf("%+v: %.2f of the rate", test, share)
		}
		if !test.stay && most > at {
			t.Errorf("%+v: %d wait", test, most)
		}
	}
}

// A connection begins at once while the others owe little, also those that have ended. Then it
// waits for its first bytes, which it has moved without another pause, and one that ends before
// that owes nothing.
func TestAConnectionWaitsForItsFirstBytesBesideOnesThatOweMuch(t *testing.T) {
	const limit = 1 << 20
	r := newRate(limit, 0)
	for range 9 { // the credit of the first 50 ms is none yet
		w := &waiter{}
		if pause := r.delay(w, 0, 0); pause != 0 {
			t.Fatalf("beside connections that owe little, one pauses for %v", pause)
		}
		r.delay(w, firstBytes, 0)
		r.leave(w, 0)
	}
	if pause := r.delay(&waiter{}, firstBytes, 0); pause == 0 {
		t.Error("one that has moved bytes already does not pause")
	}
	owed := r.owed()
	for range 3 {
		w := &waiter{}
		r.delay(w, 0, 0)
		r.leave(w, 0)
	}
	if math.Abs(r.owed()-owed) > 1e-6 {
		t.Errorf("connections that moved nothing owe %v", r.owed()-owed)
	}
	w := &waiter{}
	pause := r.delay(w, 0, 0)
	// Three wait; this one for 16 KiB, and an eighth of 144 KiB.
	if pause < time.Second*3*firstBytes/limit || pause > time.Second*6*firstBytes/limit {
		t.Errorf("beside ones that owe much, one pauses for %v", pause)
	}
	if pause := r.delay(w, 0, pause); pause != 0 {
		t.Errorf("the pause goes on for %v", pause)
	}
	if again := r.delay(w, firstBytes, pause); again != 0 {
		t.Errorf("another pause of %v for the first bytes", again)
	}
	if again := r.delay(w, firstBytes, pause); again == 0 {
		t.Error("no pause for the next bytes")
	}
}

// Connections have the rate together also if a round of theirs takes longer than the
// longest pause.
func TestManyConnectionsDoNotEvadeALowRate(t *testing.T) {
	const limit, chunk = MinRate, 16 << 10
	r := newRate(limit, 0)
	var flows []*flow
	for range 100 {
		flows = append(flows, &flow{chunk: chunk})
	}
	simulate(r, flows, 0, time.Hour, 0) // a round is 1,600 seconds
	before := total(flows)
	simulate(r, flows, time.Hour, 11*time.Hour, 0)
	if share := float64(total(flows)-before) / (10 * time.Hour.Seconds() * limit); share < 0.95 || share > 1.05 {
		t.Errorf("%.2f of the rate", share)
	}
}

// What is not used is kept for a moment and no longer, and a change of the rate holds
// for what is waited for already.
func TestUnusedRateIsNotSaved(t *testing.T) {
	const limit = 1 << 20
	r := newRate(limit, 0)
	w := &waiter{}
	kept := int(limit * burst.Seconds())
	if pause := r.delay(w, kept+limit, time.Hour); pause.Round(time.Millisecond) != time.Second {
		t.Errorf("after an hour of silence the pause is %v", pause)
	}
	r.set(2*limit, time.Hour)
	if pause := r.delay(w, limit, time.Hour); pause.Round(time.Millisecond) != time.Second {
		t.Errorf("at twice the rate, twice the bytes wait for %v", pause)
	}
	if pause := r.delay(&waiter{}, math.MaxInt, time.Hour); pause != maxPause {
		t.Errorf("a pause of %v", pause)
	}
	r.set(limit, time.Minute) // time does not run backwards, and if it does, nothing happens
	if r.at != time.Hour {
		t.Error(r.at)
	}
}

// Delay without a rate takes a few nanoseconds, and with one among fifty connections less
// than a microsecond or two; Moved is one atomic addition.
func BenchmarkAccount(b *testing.B) {
	for name, l := range map[string]Limits{"no limits": {}, "rate": {RateDown: 1 << 40}, "quota": {Quota: Quota{Bytes: 1 << 60}}} {
		b.Run(name, func(b *testing.B) {
			p := newPolicy(alice(l))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				s, err := admit(p, "alice", client)
				if err != nil {
					b.Fatal(err)
				}
				for pb.Next() {
					s.account.Moved(1, 16<<10)
					s.account.Delay(1, 16<<10)
				}
			})
		})
	}
}

// A connection's admission and end, among a thousand users with every limit.
func BenchmarkAdmit(b *testing.B) {
	var list []User
	for i := range 1000 {
		list = append(list, User{Name: fmt.Sprint(i), Limits: Limits{
			Expires: time.Now().Add(time.Hour), MaxConnections: 10, MaxAddresses: 3, RateUp: 1 << 40, RateDown: 1 << 40,
			Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Quota: Quota{Bytes: 1 << 60, Period: Monthly},
		}})
	}
	p := newPolicy(list...)
	b.ReportAllocs()
	for b.Loop() {
		s, err := admit(p, "7", client)
		if err != nil {
			b.Fatal(err)
		}
		s.account.Done(s.Report())
	}
}
