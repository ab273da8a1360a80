package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// User is a user and what limits it. For all limits 0 means none.
type User struct {
	Name string `toml:"name"` // unique

	// What the user's clients may have; one at least. SecretFile is a file with secrets,
	// SecretEnv the name of an environment variable with them, with white space or
	// commas between.
	Secret     Secret   `toml:"secret"`
	Secrets    []Secret `toml:"secrets"`
	SecretFile string   `toml:"secret_file" path:"true"`
	SecretEnv  string   `toml:"secret_env"`

	Enabled bool   `toml:"enabled"` // true by default
	Expires Time   `toml:"expires"` // the zero value: never. A local time is in TimeZone
	Note    string `toml:"note"`    // for the operator

	MaxConnections int `toml:"max_connections"` // at a time
	// MaxAddresses limits the addresses that have connections, or had one within
	// AddressWindow, which is DefaultAddressWindow by default. An IPv6 address counts as
	// its /64.
	MaxAddresses  int           `toml:"max_addresses"`
	AddressWindow time.Duration `toml:"address_window"`

	// Quota limits the bytes of both directions in a period. A period begins at midnight
	// in TimeZone: on QuotaDay, which is 1 to 7 from Monday for weeks and 1 to 31 for
	// months, of which shorter ones begin on their last day.
	Quota       Bytes  `toml:"quota"`
	QuotaPeriod Period `toml:"quota_period"`
	QuotaDay    int    `toml:"quota_day"` // 0: 1
	TimeZone    Zone   `toml:"time_zone"` // UTC by default

	RateUp   Bytes `toml:"rate_up"`   // in a second, of all connections together, from the client
	RateDown Bytes `toml:"rate_down"` // to the client

	Networks []Network `toml:"networks"` // that clients may connect from; none: from all
}

// SetDefaults sets the defaults that are not zero values.
func (u *User) SetDefaults() { u.Enabled, u.AddressWindow = true, DefaultAddressWindow }

// DefaultAddressWindow is the default of User.AddressWindow.
const DefaultAddressWindow = 10 * time.Minute

// ExpiresAt returns when the user expires, the zero time for never.
func (u *User) ExpiresAt() time.Time {
	if u.Expires.IsZero() {
		return time.Time{}
	}
	return u.Expires.In(u.TimeZone.Location())
}

// maxNameLength is the length limit of names, in bytes.
const maxNameLength = 64

// CheckName returns an error if a user may not be called name. It does not quote the
// name: after a typing mistake a part of a secret may look like one.
func CheckName(name string) error {
	for _, r := range name {
		if !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_' || r == '.' || r == '-') {
			name = ""
		}
	}
	if name == "" || len(name) > maxNameLength || name == "." || name == ".." { // which are no part of a path
		return errBadName
	}
	return nil
}

var errBadName = fmt.Errorf("bad name: want 1 to %d letters of English, digits, dots, dashes or underscores", maxNameLength)

// KeyError is what is wrong with one key of a table.
type KeyError struct {
	Key string
	Err error
}

func (e KeyError) Error() string { return e.Key + ": " + e.Err.Error() }

func (e KeyError) Unwrap() error { return e.Err }

// negative returns the error of a value that is below 0.
func negative(value any) error { return fmt.Errorf("must not be negative, and is %v", value) }

// isControl reports whether a note must not have r, which may change what a terminal
// shows.
func isControl(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return false
	case r == '\u2028', r == '\u2029': // ends of lines that not all programs know
		return true
	case '\u202a' <= r && r <= '\u202e', '\u2066' <= r && r <= '\u2069': // text in another order
		return true
	}
	return unicode.IsControl(r)
}

// Check returns what is wrong with the user, apart from others.
func (u *User) Check() (wrong []KeyError) {
	fail := func(when bool, key string, err error) {
		if when {
			wrong = append(wrong, KeyError{key, err})
		}
	}
	if err := CheckName(u.Name); err != nil {
		wrong = append(wrong, KeyError{"name", err})
	}
	fail(u.Secret.Mode == 0 && len(u.Secrets) == 0 && u.SecretFile == "" && u.SecretEnv == "", "secret",
		errors.New("the user has none: set secret, secrets, secret_file or secret_env"))
	fail(strings.ContainsFunc(u.Note, isControl), "note", errors.New("must have no control characters but tabs and ends of lines"))
	fail(u.MaxConnections < 0, "max_connections", negative(u.MaxConnections))
	fail(u.MaxAddresses < 0, "max_addresses", negative(u.MaxAddresses))
	fail(u.AddressWindow < 0, "address_window", negative(u.AddressWindow))
	fail(u.QuotaPeriod != NoPeriod && u.Quota == 0, "quota_period", errors.New("there is no quota that it is for"))
	switch last := map[Period]int{Week: 7, Month: 31}[u.QuotaPeriod]; {
	case u.QuotaDay == 0:
	case last == 0:
		fail(true, "quota_day", errors.New("only a quota_period of week or month has one"))
	default:
		fail(u.QuotaDay < 1 || u.QuotaDay > last, "quota_day", fmt.Errorf("%d: want 1 to %d for a %v", u.QuotaDay, last, u.QuotaPeriod))
	}
	return wrong
}
