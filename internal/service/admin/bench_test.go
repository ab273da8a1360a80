package admin

import (
	"fmt"
	"testing"

	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
)

// BenchmarkUsers is what it takes to list all of a hundred thousand users, on both sides.
func BenchmarkUsers(b *testing.B) {
	list := make([]users.User, 100_000)
	for i := range list {
		list[i] = users.User{Name: fmt.Sprint("user-", i), Secrets: []mtproxy.Secret{{Mode: mtproxy.Padded, Key: [16]byte{byte(i), byte(i >> 8), byte(i >> 16)}}},
			Limits: users.Limits{MaxConnections: 100, Quota: users.Quota{Bytes: 100 << 30, Period: users.Monthly}}}
	}
	policy := users.New(users.Config{})
	policy.Set(list)
	c := LocalClient(New(Config{Users: policy}))
	b.ReportAllocs()
	for b.Loop() {
		if all, err := c.Users(b.Context()); err != nil || len(all) != len(list) {
			b.Fatal(len(all), err)
		}
	}
}
