package service

import (
	"encoding/binary"
	"fmt"
	"runtime/metrics"
	"slices"
	"testing"

	"github.com/mtwire/mtwire/internal/service/store"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
)

// garbagePercent returns the percentage of garbage that the process lets accumulate.
func garbagePercent() uint64 {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// A change of one user among many that were added at run time is thrifty with memory, as a
// reload is, and what it has needed is returned to the system soon. So is the start with them.
func TestAChangeAmongManyAddedUsersIsThrifty(t *testing.T) {
	state := t.TempDir()
	many := make([]users.User, manyUsers+2000)
	for i := range many {
		secret := mtproxy.Secret{Mode: mtproxy.Padded, Key: [16]byte{1, byte(i), byte(i >> 8)}}
		many[i] = users.User{Name: fmt.Sprint("user-", i), Secrets: []mtproxy.Secret{secret}}
	}
	r := run(t, withUsers(state, fileUser("alice", 1, nil)))
	if r.config.hasManyUsers() {
		t.Error("the store has many users")
	}
	<-r.Probed() // after the start has set its release
	update := func(change func([]users.User) []users.User) (percent uint64) {
		t.Helper()
		err := r.UpdateUsers(func(list []users.User) ([]users.User, error) {
			percent = garbagePercent()
			return change(list), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return percent
	}
	update(func([]users.User) []users.User { return many })
	if !r.config.hasManyUsers() {
		t.Error("the store has few users")
	}
	removed := 0
	for isDue := false; !isDue; isDue = r.release.Stop() { // a slow machine may have released it by then
		if removed == 5 {
			t.Fatal("memory is not released")
		}
		r.release.Stop()
		if percent := update(func(list []users.User) []users.User { return list[1:] }); percent > thriftyPercent {
			t.Errorf("%d percent of garbage", percent)
		}
		removed++
	}
	path, err := r.config.storePath()
	if err != nil {
		t.Fatal(err)
	}
	stored, err := store.ReadUsers(path)
	if err != nil || len(stored) != len(many)-removed || !slices.Equal(stored[0].Secrets, many[removed].Secrets) {
		t.Errorf("%d users, %v", len(stored), err)
	}
}

// BenchmarkChangeAmongManyAddedUsers is a change of one of 100,000 users that were added at run
// time.
func BenchmarkChangeAmongManyAddedUsers(b *testing.B) {
	c := Default()
	c.State = b.TempDir()
	s, err := OpenStopped(c, discard)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	many := make([]users.User, 100_000)
	for i := range many {
		secret := mtproxy.Secret{Mode: mtproxy.FakeTLS, Domain: "www.example.com"}
		binary.BigEndian.PutUint32(secret.Key[:], uint32(i))
		many[i] = users.User{Name: fmt.Sprint("user-", i), Secrets: []mtproxy.Secret{secret},
			Limits: users.Limits{MaxConnections: 100, Quota: users.Quota{Bytes: 100 << 30, Period: users.Monthly}}}
	}
	update := func(change func([]users.User) []users.User) {
		err := s.service.UpdateUsers(func(list []users.User) ([]users.User, error) { return change(list), nil })
		if err != nil {
			b.Fatal(err)
		}
	}
	update(func([]users.User) []users.User { return many })
	b.ReportAllocs()
	for b.Loop() {
		update(func(list []users.User) []users.User {
			list[7].Disabled = !list[7].Disabled
			return list
		})
	}
}
