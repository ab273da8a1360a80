// Package users is the proxy's Policy: it admits the clients of users within their
// limits, limits their rates, and counts their bytes.
//
//	user.go       a user and its limits, as configured; merge.go: several lists of them
//	policy.go     the users as they are now, and their clients' admission
//	account.go    one session's usage
//	refusal.go    why a client is refused
//	addresses.go  the addresses of a user's clients
//	schedule.go   when a quota begins anew
//	rate.go       a rate that connections share
//	usage.go      what was counted
//	elsewhere.go  the sessions of another process, during an upgrade
package users

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
)

// User is a user of the proxy, with its limits. A User is a value: it may be compared
// with Equal and must not be changed once it is passed to a Policy.
type User struct {
	// Name identifies the user, and Secrets are those of its clients: see proxy.User.
	Name    string
	Secrets []mtproxy.Secret

	// Retired are secrets that clients may have until a time, in addition: see Rotate.
	Retired []RetiredSecret

	// Source is where the user is defined.
	Source Source
	// Note is a text for the operator.
	Note string

	Limits
}

// RetiredSecret is a secret that was replaced by another one, and until when clients may
// have it. Then their sessions are closed too.
type RetiredSecret struct {
	mtproxy.Secret
	Until time.Time
}

// Rotate replaces the secrets by secret. Clients may have those before until a time.
// Secrets whose time is over by now are dropped.
func (u *User) Rotate(secret mtproxy.Secret, now, until time.Time) {
	retired := make([]RetiredSecret, 0, len(u.Secrets)+len(u.Retired))
	for _, old := range u.Secrets {
		if until.After(now) && old != secret {
			retired = append(retired, RetiredSecret{old, until})
		}
	}
	for _, old := range u.Retired {
		if old.Until.After(now) && old.Secret != secret {
			retired = append(retired, old)
		}
	}
	u.Secrets, u.Retired = []mtproxy.Secret{secret}, retired
}

// SecretsAt returns the secrets that clients may have at a time.
func (u *User) SecretsAt(now time.Time) []mtproxy.Secret {
	secrets := u.Secrets
	for _, old := range u.Retired {
		if now.Before(old.Until) {
			secrets = append(slices.Clip(secrets), old.Secret)
		}
	}
	return secrets
}

// Source is where a user is defined.
type Source uint8

const (
	// File means the configuration: flags, environment and files.
	File Source = iota
	// Store means the state directory: the user was added at run time.
	Store
)

// String returns "file" or "store".
func (s Source) String() string {
	if s == Store {
		return "store"
	}
	return "file"
}

// Limits are what a user's clients may do. The zero value imposes none.
type Limits struct {
	// Disabled means that no client is served.
	Disabled bool
	// Expires is when the user's clients are not served any more. The zero time means
	// never.
	Expires time.Time

	// MaxConnections is the maximum number of connections at the same time, 0 for no
	// limit.
	MaxConnections int
	// MaxAddresses is the maximum number of addresses that clients come from, 0 for no
	// limit. An IPv6 network of 64 bits counts as one. An address counts from its first
	// connection until AddressWindow after the end of its last. 0 means
	// DefaultAddressWindow, a negative value that it counts while it has a connection
	// only.
	MaxAddresses  int
	AddressWindow time.Duration
	// Networks are the networks that clients may come from. None means all. Clients of
	// Unix sockets without an address are in none.
	Networks []netip.Prefix

	// Quota limits the bytes of both directions together.
	Quota Quota
	// RateUp and RateDown limit the rate of upload and download, in bytes a second for
	// all connections together, which share it equally. 0 means no limit.
	RateUp, RateDown int64
}

// DefaultAddressWindow is the default for Limits.AddressWindow.
const DefaultAddressWindow = 10 * time.Minute

// MinRate is the smallest positive rate, in bytes a second.
const MinRate = 1 << 10

// Quota is a number of bytes for a period. The zero value is no quota.
type Quota struct {
	// Bytes is the quota, 0 for none.
	Bytes int64
	// Period is how often the count begins anew: at midnight of the day.
	Period Period
	// Day is the day of the week (1 is Monday, 7 Sunday) or of the month on which a
	// period begins. In shorter months the last day stands for it. 0 means 1.
	Day int
	// Location is the time zone. Nil means UTC.
	Location *time.Location
}

// Period is the length of a quota's period.
type Period uint8

// The periods. Once means that the count never begins anew.
const (
	Once Period = iota
	Daily
	Weekly
	Monthly
)

var periodNames = [...]string{"none", "day", "week", "month"}

// String returns "none", "day", "week" or "month".
func (p Period) String() string {
	if int(p) >= len(periodNames) {
		return "unknown"
	}
	return periodNames[p]
}

// MarshalText returns the same text as String.
func (p Period) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText parses a period. After an error p is unchanged.
func (p *Period) UnmarshalText(text []byte) error {
	i := slices.Index(periodNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown period: want %s", strings.Join(periodNames[:], ", "))
	}
	*p = Period(i)
	return nil
}

// LimitError is the error of one limit, in the words of the configuration.
type LimitError struct {
	Limit string // such as "max_connections"
	Err   error
}

func (e *LimitError) Error() string { return e.Limit + ": " + e.Err.Error() }

func (e *LimitError) Unwrap() error { return e.Err }

// Check returns the first error of Wrong, nil if there is none.
func (l *Limits) Check() error {
	if wrong := l.Wrong(); len(wrong) > 0 {
		return wrong[0]
	}
	return nil
}

// Wrong returns an error for each limit that is out of range. Without one it allocates
// nothing: a hundred thousand users are checked with each change of one.
func (l *Limits) Wrong() (wrong []*LimitError) {
	fail := func(limit, format string, args ...any) {
		wrong = append(wrong, &LimitError{limit, fmt.Errorf(format, args...)})
	}
	atLeastZero := func(limit string, n int64) {
		if n < 0 {
			fail(limit, "must not be negative, and is %d", n)
		}
	}
	atLeastMinRate := func(limit string, rate int64) {
		if rate < 0 || 0 < rate && rate < MinRate {
			fail(limit, "must be at least %d bytes a second, or 0 for no limit, and is %d", MinRate, rate)
		}
	}
	atLeastZero("max_connections", int64(l.MaxConnections))
	atLeastZero("max_addresses", int64(l.MaxAddresses))
	atLeastZero("quota", l.Quota.Bytes)
	if l.Quota.Period > Monthly {
		fail("quota_period", "unknown period %d", l.Quota.Period)
	}
	switch day, last := l.Quota.Day, l.Quota.Period.days(); {
	case last == 0 && day != 0:
		fail("quota_day", "only a week and a month begin on a day of theirs")
	case day < 0 || day > last:
		fail("quota_day", "must be 1 to %d, and is %d", last, day)
	}
	atLeastMinRate("rate_up", l.RateUp)
	atLeastMinRate("rate_down", l.RateDown)
	if slices.ContainsFunc(l.Networks, func(n netip.Prefix) bool { return !n.IsValid() }) {
		fail("networks", "invalid network")
	}
	return wrong
}

// days returns on how many different days a period can begin, 0 if there is no choice.
func (p Period) days() int {
	switch p {
	case Weekly:
		return 7
	case Monthly:
		return 31
	}
	return 0
}

// Equal reports whether two users are the same in everything.
func (u *User) Equal(other *User) bool {
	return u.Name == other.Name && slices.Equal(u.Secrets, other.Secrets) &&
		slices.EqualFunc(u.Retired, other.Retired, func(a, b RetiredSecret) bool { return a.Secret == b.Secret && a.Until.Equal(b.Until) }) &&
		u.Source == other.Source && u.Note == other.Note && u.Limits.Equal(&other.Limits)
}

// Equal reports whether two limits are the same.
func (l *Limits) Equal(other *Limits) bool {
	return l.Disabled == other.Disabled && l.Expires.Equal(other.Expires) &&
		l.MaxConnections == other.MaxConnections && l.MaxAddresses == other.MaxAddresses &&
		l.AddressWindow == other.AddressWindow && slices.Equal(l.Networks, other.Networks) &&
		l.Quota.Bytes == other.Quota.Bytes && l.Quota.schedule() == other.Quota.schedule() &&
		l.RateUp == other.RateUp && l.RateDown == other.RateDown
}
