package fronting

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// A pool that is given the findings of another one answers hellos of all kinds as the host
// does, and has its records and its patience, before it has connected to it.
func TestFindingsAreCarriedOver(t *testing.T) {
	inBubble(t, &tls.Config{}, func(t *testing.T, p *Pool, _ *lockedBuffer, dial func() (net.Conn, error), _ *atomic.Int32) {
		time.Sleep(time.Minute)
		for _, hello := range clientHellos(t) {
			p.ServerHello(hello)
		}
		time.Sleep(2 * MaxPatience)
		next, err := New(Config{Hosts: []Host{{Domain: "A.example"}, {Domain: "b.example", Address: "b.example:8443"}}})
		if err != nil {
			t.Fatal(err)
		}
		for f := range p.Findings() {
			b, err := json.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			var again Finding
			if err := json.Unmarshal(b, &again); err != nil {
				t.Fatal(err)
			}
			next.Add(again)
			again.Domain = "b.example" // which is another host
			next.Add(again)
		}
		for client, hello := range clientHellos(t) {
			expectLikeness(t, next, dial, client, hello)
		}
		before, after := only(p), only(next)
		if fmt.Sprint(after.records) != fmt.Sprint(before.records) || after.patience != before.patience || len(after.kinds) != len(before.kinds) {
			t.Errorf("%+v, %v, %d kinds, want %+v, %v, %d", after.records, after.patience, len(after.kinds), before.records, before.patience, len(before.kinds))
		}
		if other := next.hosts.Load().hosts[1]; other.browser != nil || len(other.kinds) > 0 {
			t.Error("another host is taken for this one")
		}
	})
}

// What no process can have measured is dropped.
func TestFindingsAreChecked(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example"}}})
	hello, err := browserHello("a.example")
	if err != nil {
		t.Fatal(err)
	}
	about := Finding{Domain: "a.example", Address: "a.example:443"}
	for name, change := range map[string]func(*Finding){
		"no hello":       func(f *Finding) { f.Hello, f.Browser, f.Answers = []byte("hello"), true, []Answer{{}} },
		"no answer":      func(f *Finding) { f.Hello, f.Browser = hello, true },
		"a long answer":  func(f *Finding) { f.Hello, f.Browser, f.Answers = hello, true, []Answer{{DataSize: 1 << 20}} },
		"long records":   func(f *Finding) { f.Max, f.Ramp = 1<<20, []int{1 << 20} },
		"short records":  func(f *Finding) { f.Max, f.Ramp = minMaxRecord, []int{0} },
		"no patience":    func(f *Finding) { f.Patience = 1 },
		"other address":  func(f *Finding) { f.Address, f.Max = "b.example:443", minMaxRecord },
		"unknown domain": func(f *Finding) { f.Domain, f.Max = "b.example", minMaxRecord },
	} {
		f := about
		change(&f)
		p.Add(f)
		if h := only(p); h.browser != nil || len(h.kinds) > 0 || h.records.Max != DefaultMaxRecord || h.records.Ramp != nil || h.patience != DefaultPatience {
			t.Errorf("%s: %+v", name, h)
		}
	}
}
