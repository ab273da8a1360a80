package service

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/service/store"
	"github.com/mtwire/mtwire/internal/service/users"
)

// A user that is removed and added again at run time has all of its bytes since then in
// the history of the day, whatever the former one had when the day began.
func TestTheHistoryBeginsAnewWithTheUser(t *testing.T) {
	state := t.TempDir()
	var back atomic.Int64 // how far the clock is
	back.Store(int64(48 * time.Hour))
	s := store.Open(filepath.Join(state, storeDir), store.Options{
		Log:  slog.New(slog.DiscardHandler),
		Time: func() time.Time { return time.Now().Add(-time.Duration(back.Load())) },
	})
	before := users.New(users.Config{Counters: []users.Counter{{Name: "bob", Up: 1, Seen: time.Now().Unix()}}})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { s.Run(ctx, before); close(ran) }()
	within(t, "the usage is written", func() bool { s.Flush(); return !s.Status().Written.IsZero() })
	back.Store(0) // a day begins with one byte
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-ran

	r := run(t, withUsers(state, fileUser("alice", 1, nil)))
	set := func(list ...users.User) {
		t.Helper()
		if err := r.UpdateUsers(func([]users.User) ([]users.User, error) { return list, nil }); err != nil {
			t.Fatal(err)
		}
	}
	set(addedUser("bob", 2))
	if _, usage, _ := r.Users().Usage("bob"); usage.Up != 1 {
		t.Fatalf("%+v", usage)
	}
	set()
	set(addedUser("bob", 2))
	conn := r.join(t, 2)
	conn.Close()
	within(t, "the connection ends", func() bool { _, usage, _ := r.Users().Usage("bob"); return usage.Connections == 0 })
	days, err := r.History("bob")
	if err != nil || len(days) == 0 {
		t.Fatalf("%v, %v", days, err)
	}
	_, usage, _ := r.Users().Usage("bob")
	if got := days[len(days)-1].Records[0]; usage.Up == 0 || got.Up != usage.Up || got.Down != usage.Down {
		t.Errorf("%+v, and the usage is %+v", got, usage)
	}
}
