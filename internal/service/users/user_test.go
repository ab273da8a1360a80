package users

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Limits out of range are refused, with the limit's name in the configuration.
func TestLimitsAreChecked(t *testing.T) {
	for limit, l := range map[string]Limits{
		"":                {},
		"max_connections": {MaxConnections: -1},
		"max_addresses":   {MaxAddresses: math.MinInt},
		"quota":           {Quota: Quota{Bytes: -1}},
		"quota_period":    {Quota: Quota{Bytes: 1, Period: 9}},
		"quota_day":       {Quota: Quota{Bytes: 1, Period: Weekly, Day: 8}},
		"rate_up":         {RateUp: MinRate - 1},
		"rate_down":       {RateDown: -1},
		"networks":        {Networks: []netip.Prefix{{}}},
	} {
		var bad *LimitError
		if err := l.Check(); (limit == "") != (err == nil) || err != nil && (!errors.As(err, &bad) || bad.Limit != limit) {
			t.Errorf("%q: %v", limit, err)
		}
	}
	for _, day := range []int{-1, 1, 32} {
		q := Limits{Quota: Quota{Bytes: 1, Period: Daily, Day: day}}
		if q.Check() == nil {
			t.Errorf("day %d of a day", day)
		}
	}
	most := Limits{
		MaxConnections: math.MaxInt, MaxAddresses: math.MaxInt, RateUp: math.MaxInt64, RateDown: MinRate,
		Quota: Quota{Bytes: math.MaxInt64, Period: Monthly, Day: 31}, Networks: []netip.Prefix{netip.MustParsePrefix("::/0")},
	}
	if err := most.Check(); err != nil {
		t.Error(err)
	}
}

// Two users are equal if nothing of them differs, however their times and zones were
// made.
func TestUsersAreCompared(t *testing.T) {
	expires := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	made := func(change func(*User)) *User {
		u := &User{Name: "alice", Limits: Limits{Expires: expires, Quota: Quota{Bytes: 5, Period: Daily}}}
		change(u)
		return u
	}
	same := made(func(u *User) {
		u.Expires, u.Quota.Location = expires.In(time.FixedZone("CET", 3600)), time.UTC
	})
	if u := made(func(*User) {}); !u.Equal(same) {
		t.Error("the same user differs")
	}
	for name, change := range map[string]func(*User){
		"name": func(u *User) { u.Name = "bob" }, "note": func(u *User) { u.Note = "n" }, "source": func(u *User) { u.Source = Store },
		"disabled": func(u *User) { u.Disabled = true }, "expires": func(u *User) { u.Expires = expires.Add(1) },
		"connections": func(u *User) { u.MaxConnections = 1 }, "addresses": func(u *User) { u.MaxAddresses = 1 },
		"window": func(u *User) { u.AddressWindow = 1 }, "networks": func(u *User) { u.Networks = []netip.Prefix{{}} },
		"quota": func(u *User) { u.Quota.Bytes++ }, "period": func(u *User) { u.Quota.Period = Weekly },
		"zone": func(u *User) { u.Quota.Location = time.FixedZone("CET", 3600) },
		"up":   func(u *User) { u.RateUp = 1 }, "down": func(u *User) { u.RateDown = 1 },
	} {
		if made(change).Equal(same) {
			t.Errorf("%s is not compared", name)
		}
	}
}

// A period's text is parsed back to it, and nothing else is a period.
func TestPeriodsAreTexts(t *testing.T) {
	for p := Once; p <= Monthly; p++ {
		var back Period
		if text, _ := p.MarshalText(); back.UnmarshalText(text) != nil || back != p {
			t.Errorf("%s is %v", text, back)
		}
	}
	p := Weekly
	if p.UnmarshalText([]byte("year")) == nil || p != Weekly {
		t.Error(p)
	}
}

// A secret that was replaced is one of the user's until its time is over, and nothing of
// the user before is changed.
func TestReplacedSecretsHaveTheirTime(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	before := User{Name: "alice", Secrets: proxySecrets(1, 2)}
	u := before
	u.Rotate(secretOf(3), now, now.Add(time.Hour))
	u.Rotate(secretOf(4), now.Add(time.Minute), now.Add(2*time.Hour))
	for after, want := range map[time.Duration]int{0: 4, time.Hour - 1: 4, time.Hour: 2, 2 * time.Hour: 1} {
		if secrets := u.SecretsAt(now.Add(after)); len(secrets) != want || secrets[0] != secretOf(4) {
			t.Errorf("after %v: %v", after, secrets)
		}
	}
	if !SecretsDiffer([]User{u}, now, now.Add(time.Hour)) || SecretsDiffer([]User{u}, now.Add(time.Hour), now.Add(2*time.Hour-1)) {
		t.Error("the end of a secret is not noticed")
	}
	if !SecretsDiffer([]User{u}, now.Add(time.Hour), now) {
		t.Error("it is not noticed that a secret is accepted again when the clock is set back")
	}
	if len(before.Secrets) != 2 || before.Equal(&u) {
		t.Errorf("%+v", before)
	}
	u.Rotate(secretOf(3), now.Add(3*time.Hour), now) // at once, and one that was used before
	if len(u.Retired) != 0 || u.Secrets[0] != secretOf(3) {
		t.Errorf("%+v", u)
	}
	other := User{Name: "bob", Secrets: proxySecrets(9)}
	other.Rotate(secretOf(5), now, now.Add(time.Hour))
	if _, err := Merge([]User{other, {Name: "carol", Secrets: proxySecrets(9)}}); err == nil {
		t.Error("a secret that was replaced is another user's")
	}
}

// Limits that are right are checked without an allocation, and each that is out of range is told.
func TestLimitsAreCheckedWithoutAnAllocation(t *testing.T) {
	right := every
	right.Quota.Day = 31
	if n := testing.AllocsPerRun(100, func() {
		if err := right.Check(); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	wrong := Limits{
		MaxConnections: -1, MaxAddresses: -2, RateUp: -3, RateDown: MinRate - 1,
		Networks: []netip.Prefix{{}}, Quota: Quota{Bytes: -4, Period: Monthly + 1, Day: 1},
	}
	var texts []string
	for _, err := range wrong.Wrong() {
		texts = append(texts, err.Error())
	}
	want := []string{
		"max_connections: must not be negative, and is -1", "max_addresses: must not be negative, and is -2",
		"quota: must not be negative, and is -4", "quota_period: unknown period 4",
		"quota_day: only a week and a month begin on a day of theirs",
		"rate_up: must be at least 1024 bytes a second, or 0 for no limit, and is -3",
		"rate_down: must be at least 1024 bytes a second, or 0 for no limit, and is 1023", "networks: invalid network",
	}
	if !slices.Equal(texts, want) {
		t.Errorf("%q", texts)
	}
	for _, q := range []Quota{{Period: Weekly, Day: 8}, {Period: Monthly, Day: 32}, {Period: Monthly, Day: -1}} {
		if l := (Limits{Quota: q}); l.Check() == nil {
			t.Errorf("%+v", q)
		}
	}
}
