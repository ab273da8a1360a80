package store

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
)

// someUsage is a content of the usage file.
func someUsage() *usage {
	return &usage{
		day: users.DayOf(time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)),
		counters: []users.Counter{
			{Name: "alice", Up: 1, Down: math.MaxInt64, BaseUp: 1, BaseDown: 7, Schedule: "month 1 UTC", Period: 20000, Behind: -1, Seen: 1795872333},
			{Name: "bob"}, {Name: "", Up: 300},
			{Name: "carol", Up: 5, Schedule: "month 1 UTC", Period: math.MaxInt32, Behind: math.MinInt32},
		},
		base: map[string]direction{"alice": {1, 1 << 40}, "": {up: 300}},
		left: []string{"A", "BC"},
	}
}

func userList() []users.User {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return []users.User{
		{Name: "alice", Source: users.Store, Secrets: []mtproxy.Secret{{Key: [16]byte{1}, Mode: mtproxy.FakeTLS, Domain: "a.example"}, {Key: [16]byte{2}, Mode: mtproxy.Plain}},
			Retired: []users.RetiredSecret{{Secret: mtproxy.Secret{Key: [16]byte{4}, Mode: mtproxy.Padded}, Until: time.Date(2027, 1, 1, 0, 0, 0, 5, time.UTC)}},
			Note:    "a \"note\"\n", Limits: users.Limits{
				Disabled: true, Expires: time.Date(2027, 1, 1, 0, 0, 0, 5, time.UTC), MaxConnections: 3, MaxAddresses: 2, AddressWindow: -1,
				Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, RateUp: 1 << 20, RateDown: 1 << 30,
				Quota: users.Quota{Bytes: 1 << 40, Period: users.Monthly, Day: 31, Location: berlin},
			}},
		{Name: "bob", Source: users.Store, Secrets: []mtproxy.Secret{{Key: [16]byte{3}, Mode: mtproxy.Padded}}},
	}
}

// What is written is read back.
func TestContentsAreReadBack(t *testing.T) {
	u := someUsage()
	payload, sum := appendUsage(nil, u)
	got, err := parseUsage(payload)
	if err != nil || !reflect.DeepEqual(got, u) {
		t.Errorf("%+v, %v", got, err)
	}
	slices.Reverse(u.counters)
	if _, other := appendUsage(nil, u); other != sum {
		t.Error("the sum depends on the order")
	}
	u.counters[0].Seen++
	if _, other := appendUsage(nil, u); other == sum {
		t.Error("the sum does not depend on the records")
	}
	records := []Record{{"alice", 1, 2}, {"bob", 0, math.MaxInt64}}
	if got, err := parseDay(appendDay(nil, records)); err != nil || !slices.Equal(got, records) {
		t.Errorf("%+v, %v", got, err)
	}
	list := userList()
	payload, err = encodeUsers(list, nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeUsers(payload)
	if err != nil || len(back) != len(list) {
		t.Fatalf("%+v, %v", back, err)
	}
	for i := range list {
		if !back[i].Equal(&list[i]) {
			t.Errorf("%+v, want %+v", back[i], list[i])
		}
	}
}

// A user that could not be read back is not written.
func TestUsersThatCannotBeReadBackAreRefused(t *testing.T) {
	for _, zone := range []*time.Location{time.FixedZone("", 3600), time.FixedZone("Nowhere/At-all", 3600)} {
		list := []users.User{{Name: "alice", Limits: users.Limits{Quota: users.Quota{Bytes: 1, Period: users.Daily, Location: zone}}}}
		if payload, err := encodeUsers(list, nil); err == nil {
			t.Errorf("%s", payload)
		}
	}
	if _, err := encodeUsers([]users.User{{Name: "alice", Limits: users.Limits{RateUp: -1}}}, nil); err == nil {
		t.Error("a limit out of range is written")
	}
}

// A file of which any byte was changed, which was cut or to which something was added is
// recognised as damaged. So is one of another kind or version.
func TestEveryDamageIsRecognised(t *testing.T) {
	usagePayload, _ := appendUsage(nil, someUsage())
	userPayload, err := encodeUsers(userList(), nil)
	if err != nil {
		t.Fatal(err)
	}
	leftPayload, _ := appendLeft(nil, counted{nil, someUsage().counters})
	for kind, payload := range map[string][]byte{kindUsage: usagePayload, kindUsers: userPayload, kindDay: {}, kindLeft: leftPayload} {
		file := makeFile(kind, payload)
		if got, err := parseFile(file, kind); err != nil || string(got) != string(payload) {
			t.Fatalf("%q, %v", got, err)
		}
		for i := range file {
			for _, flip := range []byte{1, 0x20, 0x80, 0xff} {
				damaged := slices.Clone(file)
				damaged[i] ^= flip
				if _, err := parseFile(damaged, kind); err == nil {
					t.Errorf("%s: a change of byte %d by %x is not recognised", kind, i, flip)
				}
			}
			if _, err := parseFile(file[:i], kind); err == nil {
				t.Errorf("%s: an end at byte %d is not recognised", kind, i)
			}
		}
		if _, err := parseFile(append(slices.Clone(file), 0), kind); err == nil {
			t.Errorf("%s: a byte behind the end is not recognised", kind)
		}
		if _, err := parseFile(file, "other"); err == nil {
			t.Errorf("%s: is taken for another kind", kind)
		}
	}
}

// A record that contradicts itself is malformed.
func TestContradictionsAreMalformed(t *testing.T) {
	for name, change := range map[string]func(u *usage){
		"a name twice":                func(u *usage) { u.counters[1].Name = "alice" },
		"more at the period's start":  func(u *usage) { u.counters[0].BaseUp = 2 },
		"more at the day's start":     func(u *usage) { u.base["bob"] = direction{down: 1} },
		"a negative number":           func(u *usage) { u.counters[1].Seen = -1 },
		"a name that is far too long": func(u *usage) { u.counters[1].Name = fmt.Sprintf("%2000d", 1) },
	} {
		u := someUsage()
		change(u)
		payload, _ := appendUsage(nil, u)
		if got, err := parseUsage(payload); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// The decoders do not panic, take memory in proportion to what they read, and what they
// accept is written as something that they read in the same way.
func FuzzDecoders(f *testing.F) {
	payload, _ := appendUsage(nil, someUsage())
	f.Add(payload)
	left, _ := appendLeft(nil, counted{someUsage().counters, someUsage().counters})
	f.Add(left)
	f.Add(appendDay(nil, []Record{{"alice", 1, 2}}))
	payload, err := encodeUsers(userList(), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Add(makeFile(kindDay, []byte{0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, err := parseUsage(b); err == nil {
			again, _ := appendUsage(nil, u)
			if back, err := parseUsage(again); err != nil || !reflect.DeepEqual(back, u) {
				t.Errorf("%+v, %v, want %+v", back, err, u)
			}
		}
		if c, err := parseLeft(b); err == nil {
			again, _ := appendLeft(nil, c)
			if back, err := parseLeft(again); err != nil || !slices.Equal(back.from, c.from) || !slices.Equal(back.to, c.to) {
				t.Errorf("%+v, %v", back, err)
			}
		}
		if records, err := parseDay(b); err == nil {
			if back, err := parseDay(appendDay(nil, records)); err != nil || !slices.Equal(back, records) {
				t.Errorf("%+v, %v", back, err)
			}
		}
		if list, err := decodeUsers(b); err == nil {
			again, err := encodeUsers(list, nil)
			if err != nil {
				return // a local time zone
			}
			if back, err := decodeUsers(again); err != nil || len(back) != len(list) {
				t.Errorf("%s, %v", again, err)
			}
		}
		for _, kind := range []string{kindUsage, kindDay, kindUsers, kindLeft} {
			if payload, err := parseFile(b, kind); err == nil && len(payload) > len(b) {
				t.Error("a payload is longer than its file")
			}
		}
	})
}

// manyUsers returns users with limits, and counters for them.
func manyUsers(n int) (list []users.User, u *usage) {
	u = &usage{day: 20000, base: make(map[string]direction)}
	for i := range n {
		name := fmt.Sprintf("user-%06d", i)
		secret := mtproxy.Secret{Mode: mtproxy.FakeTLS, Domain: "site.example", Key: [16]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}}
		list = append(list, users.User{Name: name, Source: users.Store, Secrets: []mtproxy.Secret{secret}, Limits: users.Limits{
			MaxConnections: 10, MaxAddresses: 3, Quota: users.Quota{Bytes: 1 << 40, Period: users.Monthly}, RateDown: 1 << 20,
		}})
		u.counters = append(u.counters, users.Counter{Name: name, Up: 1 << 30, Down: 1 << 35, Schedule: "month 1 UTC", Period: 20000, Seen: 1795872333})
		u.base[name] = direction{1 << 29, 1 << 34}
	}
	return list, u
}
