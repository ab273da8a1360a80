package store

import (
	"log/slog"
	"runtime"
	"testing"

	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/proxy"
)

// loaded is what a proxy with the users of a store has in memory.
type loaded struct {
	store  *Store
	policy *users.Policy
	proxy  *proxy.Proxy
}

// loadFrom loads the users and counters in dir, as a proxy does at its start.
func loadFrom(tb testing.TB, dir string) *loaded {
	l := &loaded{store: Open(dir, Options{})}
	l.policy = users.New(users.Config{Counters: l.store.Counters(), Log: slog.New(slog.DiscardHandler)})
	l.store.Begin(l.policy)
	list := l.store.Users()
	l.policy.Set(list)
	var err error
	if l.proxy, err = proxy.New(proxy.Config{Users: users.Proxies(list), Policy: l.policy, Log: slog.New(slog.DiscardHandler)}); err != nil {
		tb.Fatal(err)
	}
	return l
}

// fill writes a store with n users.
func fill(tb testing.TB, n int) (dir string) {
	dir = tb.TempDir()
	list, u := manyUsers(n)
	s := Open(dir, Options{})
	if err := s.Update(func([]users.User) ([]users.User, error) { return list, nil }); err != nil {
		tb.Fatal(err)
	}
	s.source = newCounting(u.counters)
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// 100,000 users with limits and counters take less than 100 MiB of memory: the store,
// the policy and the proxy's index together.
func TestAHundredThousandUsersFitInMemory(t *testing.T) {
	dir := fill(t, 100_000)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	l := loadFrom(t, dir)
	grown := heap() - before
	if len(l.store.Users()) != 100_000 || len(l.proxy.Users()) != 100_000 {
		t.Error("users are missing")
	}
	if t.Logf("%d MiB", grown>>20); grown > 100<<20 {
		t.Errorf("they take %d MiB", grown>>20)
	}
	runtime.KeepAlive(l)
	closed(t, l.store)
}

func BenchmarkLoad100000Users(b *testing.B) {
	dir := fill(b, 100_000)
	for b.Loop() {
		l := loadFrom(b, dir)
		l.store.Close()
	}
}

func BenchmarkFlush10000Users(b *testing.B) {
	_, u := manyUsers(10_000)
	s := Open(b.TempDir(), Options{})
	source := newCounting(u.counters)
	s.source = source
	for b.Loop() {
		source.add("user-000001", 1, 0)
		if err := s.Flush(); err != nil {
			b.Fatal(err)
		}
	}
	s.Close()
}
