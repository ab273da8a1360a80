package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
)

// Secret is a user's secret: hex, base64, or a link that has it, as it was copied from
// a text. The zero value is none.
type Secret struct{ mtproxy.Secret }

// UnmarshalText parses a secret. After an error s is unchanged. Errors quote nothing.
func (s *Secret) UnmarshalText(text []byte) error {
	parsed, err := ParseSecret(string(text))
	if err == nil {
		s.Secret = parsed
	}
	return err
}

// ErrPlaceholder is the error of a text that stands for a secret, as Encode writes it.
var ErrPlaceholder = errors.New("this is a placeholder of mtwire config show: write the secret in its place")

// placeholder is in the text of mtproxy.Secret.Redacted.
const placeholder = "[redacted]"

// ParseSecret returns the secret that text is, or that of the link that it is.
func ParseSecret(text string) (mtproxy.Secret, error) {
	if secret, err := mtproxy.ParseSecret(text); err == nil {
		return secret, nil // of a hundred thousand, most are as they should be
	}
	if strings.Contains(text, placeholder) {
		return mtproxy.Secret{}, ErrPlaceholder
	}
	text = mtproxy.TrimPasted(text)
	if mtproxy.IsLink(text) {
		link, err := mtproxy.ParseLink(text)
		return link.Secret, err
	}
	return mtproxy.ParseSecret(text)
}

// String returns the secret without its key.
func (s Secret) String() string { return s.Redacted() }

// HasCredentials reports whether s is a secret. Its key is not in its text.
func (s Secret) HasCredentials() bool { return s.Mode != 0 }

// MarshalText returns the same text as String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Bytes is a number of bytes, or of bytes in a second:
//
//	1048576            bytes
//	"10 MiB"           KiB, MiB, GiB and TiB are powers of 1024
//	"10 MB"            kB, MB, GB and TB are powers of 1000
//
// 0 means no limit.
type Bytes int64

var byteUnits = []struct {
	name string
	size float64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// UnmarshalText parses a number with a unit or without. After an error b is unchanged.
func (b *Bytes) UnmarshalText(text []byte) error {
	number, size := strings.TrimSpace(strings.ReplaceAll(string(text), "_", "")), 1.0
	number = strings.TrimSuffix(number, "/s")
	for _, unit := range byteUnits {
		if len(number) > len(unit.name) && strings.EqualFold(number[len(number)-len(unit.name):], unit.name) {
			number, size = strings.TrimSpace(number[:len(number)-len(unit.name)]), unit.size
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	switch {
	case err != nil || math.IsNaN(n):
		return fmt.Errorf(`%q is no number of bytes: want such as 1048576, "10 MiB" or "10 MB"`, text)
	case n < 0:
		return fmt.Errorf("%q: a number of bytes must not be negative", text)
	case n*size >= math.MaxInt64:
		return fmt.Errorf("%q: the number of bytes is out of range", text)
	}
	if exact, err := strconv.ParseInt(number, 10, 64); err == nil && size == 1 {
		*b = Bytes(exact) // also above 1<<53
		return nil
	}
	*b = Bytes(n * size)
	return nil
}

// Literals returns "an integer".
func (b *Bytes) Literals() string { return "an integer" }

// String returns the number with the largest unit that divides it.
func (b Bytes) String() string {
	for _, unit := range byteUnits {
		if size := Bytes(unit.size); b != 0 && size > 1 && b%size == 0 {
			return fmt.Sprintf("%d %s", b/size, unit.name)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText returns the same text as String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// Network is a network, or a single address as a network.
type Network struct{ netip.Prefix }

// UnmarshalText parses an address or NETWORK/BITS. After an error n is unchanged.
func (n *Network) UnmarshalText(text []byte) error {
	if addr, err := netip.ParseAddr(string(text)); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		n.Prefix = netip.PrefixFrom(addr, addr.BitLen())
		return nil
	}
	prefix, err := netip.ParsePrefix(string(text))
	switch {
	case err != nil:
		return fmt.Errorf("bad network %q: want an IP address, or a network such as 192.0.2.0/24 or 2001:db8::/32", text)
	case prefix != prefix.Masked():
		return fmt.Errorf("bad network %q: its first address is %v", text, prefix.Masked())
	}
	if prefix.Addr().Is4In6() {
		return fmt.Errorf("bad network %q: write an IPv4 network as such", text)
	}
	n.Prefix = prefix
	return nil
}

// String returns the network, or the address if it is a single one.
func (n Network) String() string {
	if n.IsValid() && n.IsSingleIP() {
		return n.Addr().String()
	}
	return n.Prefix.String()
}

// MarshalText returns the same text as String.
func (n Network) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// Period is the time after which a quota begins anew.
type Period uint8

// The periods. NoPeriod is a quota that never begins anew.
const (
	NoPeriod Period = iota
	Day
	Week
	Month
)

var periodNames = []string{NoPeriod: "none", Day: "day", Week: "week", Month: "month"}

// UnmarshalText parses "none", "day", "week" or "month". After an error p is unchanged.
func (p *Period) UnmarshalText(text []byte) error {
	for i, name := range periodNames {
		if strings.EqualFold(name, string(text)) {
			*p = Period(i)
			return nil
		}
	}
	return fmt.Errorf("unknown period %q: want none, day, week or month", text)
}

// String returns the text that UnmarshalText parses.
func (p Period) String() string { return periodNames[p] }

// MarshalText returns the same text as String.
func (p Period) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Time is a time: 2027-01-31T12:00:00Z, or one in a time zone that the context tells:
// 2027-01-31T12:00:00 or 2027-01-31, which is the beginning of that day. Without
// quotation marks it is a time of TOML.
type Time struct {
	time.Time      // in UTC if Local is true
	Local     bool // in the zone that the context tells
}

// UnmarshalText parses a time. After an error t is unchanged.
func (t *Time) UnmarshalText(text []byte) error {
	s := strings.Replace(strings.TrimSpace(string(text)), " ", "T", 1)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		parsed, err := time.Parse(layout, strings.ToUpper(s))
		if err != nil {
			continue
		}
		if err := CheckTime(parsed); err != nil {
			return err
		}
		*t = Time{parsed, layout != time.RFC3339}
		return nil
	}
	return fmt.Errorf("%q is no time: want 2027-01-31, 2027-01-31T12:00:00 or 2027-01-31T12:00:00Z", text)
}

// CheckTime returns an error for a time that cannot be one of a user: in each zone its year
// must have four digits, as RFC 3339 has it.
func CheckTime(t time.Time) error {
	if year := t.UTC().Year(); year < 1970 || year > 9998 {
		return errors.New("the year must be 1970 to 9998")
	}
	return nil
}

// Literals describes the values that a Time takes, for messages.
func (t *Time) Literals() string { return "a date or time" }

// In returns the time, in zone if it is a local one.
func (t Time) In(zone *time.Location) time.Time {
	if !t.Local {
		return t.Time
	}
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), zone)
}

// String returns the form that UnmarshalText parses.
func (t Time) String() string {
	if t.Local {
		return t.Format("2006-01-02T15:04:05")
	}
	return t.Format(time.RFC3339)
}

// MarshalText returns the same text as String.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// Zone is the name of a time zone of the IANA database, such as Europe/Berlin. The zero
// value is UTC.
type Zone string

// UnmarshalText checks that the zone exists. After an error z is unchanged.
func (z *Zone) UnmarshalText(text []byte) error {
	if len(text) == 0 || strings.EqualFold(string(text), "local") {
		return errors.New("want the name of a time zone, such as UTC or Europe/Berlin: a machine's own may change")
	}
	if _, err := LoadZone(string(text)); err != nil {
		return fmt.Errorf("unknown time zone %q: want a name such as UTC or Europe/Berlin", text)
	}
	*z = Zone(text)
	return nil
}

// zones are those that were loaded: map[string]*time.Location. There are some hundred.
var zones sync.Map

// LoadZone is time.LoadLocation, which reads a file and makes another zone each time: a
// hundred thousand users have a few between them.
func LoadZone(name string) (*time.Location, error) {
	if known, ok := zones.Load(name); ok {
		return known.(*time.Location), nil
	}
	zone, err := time.LoadLocation(name)
	if err == nil {
		known, _ := zones.LoadOrStore(name, zone)
		zone = known.(*time.Location)
	}
	return zone, err
}

// Location returns the zone.
func (z Zone) Location() *time.Location {
	zone, err := LoadZone(string(z)) // "" is UTC
	if err != nil {
		return time.UTC
	}
	return zone
}

// Path is a path of a file in a list.
type Path string

// UnmarshalText sets the path, which must not be empty.
func (p *Path) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("the path is empty")
	}
	*p = Path(text)
	return nil
}
