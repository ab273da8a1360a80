package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
)

// definition is a user in the users file.
type definition struct {
	Name    string   `json:"name"`
	Secrets []string `json:"secrets"`

	Retired []retired `json:"retired,omitempty"`

	Note string `json:"note,omitempty"`

	Disabled       bool           `json:"disabled,omitempty"`
	Expires        *time.Time     `json:"expires,omitempty"`
	MaxConnections int            `json:"max_connections,omitempty"`
	MaxAddresses   int            `json:"max_addresses,omitempty"`
	AddressWindow  time.Duration  `json:"address_window,omitempty"` // in nanoseconds
	Networks       []netip.Prefix `json:"networks,omitempty"`
	Quota          int64          `json:"quota,omitempty"`
	QuotaPeriod    users.Period   `json:"quota_period,omitempty"`
	QuotaDay       int            `json:"quota_day,omitempty"`
	TimeZone       string         `json:"time_zone,omitempty"`
	RateUp         int64          `json:"rate_up,omitempty"`
	RateDown       int64          `json:"rate_down,omitempty"`
}

// retired is a secret that was replaced.
type retired struct {
	Secret string    `json:"secret"`
	Until  time.Time `json:"until"`
}

// encodeUsers returns the payload of the users file. It fails if a user could not be read
// back, which it tries with those that are not in before, which were.
func encodeUsers(list, before []users.User) ([]byte, error) {
	known := make(map[string]*users.User, len(before))
	for i := range before {
		known[before[i].Name] = &before[i]
	}
	var out bytes.Buffer
	out.Grow(len(list) * usualUser)
	out.WriteByte('[')
	encoder := json.NewEncoder(&out) // one for all: there may be a hundred thousand
	encoder.SetIndent("\t", "\t")
	for i := range list {
		u := &list[i]
		d, err := define(u)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString("\n\t")
		begin := out.Len()
		if err := encoder.Encode(d); err != nil {
			return nil, err
		}
		out.Truncate(out.Len() - 1) // the end of the line
		if was := known[u.Name]; was == nil || !was.Equal(u) {
			if err := checkReadBack(out.Bytes()[begin:], u); err != nil {
				return nil, err
			}
		}
	}
	if len(list) > 0 {
		out.WriteByte('\n')
	}
	out.WriteByte(']')
	return out.Bytes(), nil
}

// usualUser is about the length of a user in the file, in bytes.
const usualUser = 256

// define returns the definition of a user.
func define(u *users.User) (*definition, error) {
	if err := u.Limits.Check(); err != nil {
		return nil, fmt.Errorf("user %s: %w", u.Name, err)
	}
	d := &definition{
		Name: u.Name, Note: u.Note,
		Disabled: u.Disabled, MaxConnections: u.MaxConnections, MaxAddresses: u.MaxAddresses,
		AddressWindow: u.AddressWindow, Networks: u.Networks,
		Quota: u.Quota.Bytes, QuotaPeriod: u.Quota.Period, QuotaDay: u.Quota.Day,
		RateUp: u.RateUp, RateDown: u.RateDown,
	}
	for _, secret := range u.Secrets {
		d.Secrets = append(d.Secrets, secret.String())
	}
	for _, old := range u.Retired {
		d.Retired = append(d.Retired, retired{old.Secret.String(), old.Until})
	}
	if !u.Expires.IsZero() {
		d.Expires = &u.Expires
	}
	if zone := u.Quota.Location; zone != nil {
		d.TimeZone = zone.String()
	}
	return d, nil
}

// checkReadBack returns an error if text is not read as u.
func checkReadBack(text []byte, u *users.User) error {
	var d definition
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	back, err := d.user()
	if err == nil && !back.Equal(u) {
		err = errors.New("something of it cannot be stored")
	}
	if err != nil {
		return fmt.Errorf("user %s: %w", u.Name, err)
	}
	return nil
}

var errNoList = errors.New("it is no list of users")

// decodeUsers parses what encodeUsers returns.
func decodeUsers(payload []byte) ([]users.User, error) {
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.DisallowUnknownFields()
	if token, err := decoder.Token(); err != nil {
		return nil, err
	} else if token != json.Delim('[') {
		return nil, errNoList
	}
	list := make([]users.User, 0, bytes.Count(payload, []byte(`"name":`)))
	for decoder.More() {
		var d definition
		if err := decoder.Decode(&d); err != nil {
			return nil, err
		}
		u, err := d.user()
		if err != nil {
			return nil, fmt.Errorf("user %d: %w", len(list)+1, err)
		}
		list = append(list, u)
	}
	if _, err := decoder.Token(); err != nil { // the end of the list
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows the users")
	}
	return users.Merge(list)
}

func (d *definition) user() (users.User, error) {
	u := users.User{
		Name: d.Name, Note: d.Note, Source: users.Store,
		Limits: users.Limits{
			Disabled: d.Disabled, MaxConnections: d.MaxConnections, MaxAddresses: d.MaxAddresses,
			AddressWindow: d.AddressWindow, Networks: d.Networks,
			Quota:  users.Quota{Bytes: d.Quota, Period: d.QuotaPeriod, Day: d.QuotaDay},
			RateUp: d.RateUp, RateDown: d.RateDown,
		},
	}
	if d.Expires != nil {
		u.Expires = *d.Expires
	}
	if d.TimeZone != "" {
		zone, err := config.LoadZone(d.TimeZone)
		if err != nil {
			return u, err
		}
		u.Quota.Location = zone
	}
	for _, text := range d.Secrets {
		secret, err := mtproxy.ParseSecret(text)
		if err != nil {
			return u, err
		}
		u.Secrets = append(u.Secrets, secret)
	}
	for _, old := range d.Retired {
		secret, err := mtproxy.ParseSecret(old.Secret)
		if err != nil {
			return u, err
		}
		u.Retired = append(u.Retired, users.RetiredSecret{Secret: secret, Until: old.Until})
	}
	return u, u.Limits.Check()
}
