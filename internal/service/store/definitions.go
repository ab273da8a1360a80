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

// encodeUsers returns the payload of the users file. It fails if a user could not be
// read back.
func encodeUsers(list []users.User) ([]byte, error) {
	all := make([]definition, 0, len(list))
	for i := range list {
		u := &list[i]
		if err := u.Limits.Check(); err != nil {
			return nil, fmt.Errorf("user %s: %w", u.Name, err)
		}
		d := definition{
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
		all = append(all, d)
	}
	payload, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return nil, err
	}
	back, err := decodeUsers(payload)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if !back[i].Equal(&list[i]) {
			return nil, fmt.Errorf("user %s has something that cannot be stored", list[i].Name)
		}
	}
	return payload, nil
}

// decodeUsers parses what encodeUsers returns.
func decodeUsers(payload []byte) ([]users.User, error) {
	var all []definition
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the users")
	}
	list := make([]users.User, 0, len(all))
	for i := range all {
		u, err := all[i].user()
		if err != nil {
			return nil, fmt.Errorf("user %d: %w", i+1, err)
		}
		list = append(list, u)
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
