package admin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
)

// userDocument is a user as the API has it. Its keys are those of the configuration
// file. 0 means no limit.
type userDocument struct {
	Name        string `json:"name"`
	Source      string `json:"source"`       // read only
	SecretCount int    `json:"secret_count"` // read only

	Enabled        bool       `json:"enabled"`
	Expires        *time.Time `json:"expires"`
	Note           string     `json:"note"`
	MaxConnections int        `json:"max_connections"`
	MaxAddresses   int        `json:"max_addresses"`
	AddressWindow  string     `json:"address_window"` // as "10m0s"
	Networks       []string   `json:"networks"`
	Quota          int64      `json:"quota"`
	QuotaPeriod    string     `json:"quota_period"`
	QuotaDay       int        `json:"quota_day"`
	TimeZone       string     `json:"time_zone"`
	RateUp         int64      `json:"rate_up"`
	RateDown       int64      `json:"rate_down"`

	// Secrets are those that a request sets, and of an answer those that were made.
	Secrets []string `json:"secrets,omitempty"`
}

// newUserDocument returns the defaults.
func newUserDocument() userDocument {
	return userDocument{Enabled: true, QuotaPeriod: users.Once.String(), TimeZone: "UTC", AddressWindow: users.DefaultAddressWindow.String()}
}

// documentOfUser returns a user without its secrets.
func documentOfUser(u *users.User) userDocument {
	d := userDocument{
		Name: u.Name, Source: u.Source.String(), SecretCount: len(u.Secrets), Enabled: !u.Disabled, Expires: instant(u.Expires),
		Note: u.Note, MaxConnections: u.MaxConnections, MaxAddresses: u.MaxAddresses,
		AddressWindow: windowText(u.AddressWindow), Networks: make([]string, 0),
		Quota: u.Quota.Bytes, QuotaPeriod: u.Quota.Period.String(), QuotaDay: u.Quota.Day, TimeZone: "UTC",
		RateUp: u.RateUp, RateDown: u.RateDown,
	}
	for _, network := range u.Networks {
		d.Networks = append(d.Networks, network.String())
	}
	if u.Quota.Location != nil {
		d.TimeZone = u.Quota.Location.String()
	}
	return d
}

// etagOfUser returns the entity tag of a user, which changes with its secrets as well.
func etagOfUser(u *users.User) (string, error) {
	parts := []any{documentOfUser(u), secretTexts(u)}
	for _, old := range u.Retired {
		parts = append(parts, old.Key, old.Until.Unix())
	}
	return etagOf(parts)
}

// secretTexts returns the secrets of a user as clients have them.
func secretTexts(u *users.User) []string {
	texts := make([]string, 0, len(u.Secrets))
	for _, secret := range u.Secrets {
		if text, err := secret.MarshalText(); err == nil {
			texts = append(texts, string(text))
		}
	}
	return texts
}

// user returns the user that d describes. Without secrets in d it has none.
func (d *userDocument) user() (u users.User, err error) {
	invalid := func(key string, cause any) error {
		return fail(http.StatusUnprocessableEntity, "%s: %v", key, cause)
	}
	u = users.User{Name: d.Name, Source: users.Store, Note: d.Note, Limits: users.Limits{
		Disabled: !d.Enabled, MaxConnections: d.MaxConnections, MaxAddresses: d.MaxAddresses, RateUp: d.RateUp, RateDown: d.RateDown,
		Quota: users.Quota{Bytes: d.Quota, Day: d.QuotaDay},
	}}
	if len(d.Note) > maxNote {
		return u, invalid("note", fmt.Sprintf("it must not be longer than %d bytes", maxNote))
	}
	if d.Expires != nil {
		if u.Expires = *d.Expires; config.CheckTime(u.Expires) != nil {
			return u, invalid("expires", config.CheckTime(u.Expires))
		}
	}
	if u.AddressWindow, err = parseWindow(d.AddressWindow); err != nil {
		return u, invalid("address_window", err)
	}
	if err := d.check(); err != nil {
		return u, fail(http.StatusUnprocessableEntity, "%v", err)
	}
	if err := u.Quota.Period.UnmarshalText([]byte(cmp.Or(d.QuotaPeriod, users.Once.String()))); err != nil {
		return u, invalid("quota_period", err)
	}
	if d.TimeZone != "" && d.TimeZone != "UTC" {
		if u.Quota.Location, err = config.LoadZone(d.TimeZone); err != nil || d.TimeZone == "Local" {
			return u, invalid("time_zone", "want a name, such as Europe/Berlin")
		}
	}
	for _, text := range d.Networks {
		var network config.Network
		if err := network.UnmarshalText([]byte(text)); err != nil {
			return u, invalid("networks", err)
		}
		u.Networks = append(u.Networks, network.Prefix)
	}
	for i, text := range d.Secrets {
		secret, err := mtproxy.ParseSecret(text)
		if err != nil {
			return u, invalid("secrets", fmt.Sprintf("number %d: %v", i+1, err))
		}
		u.Secrets = append(u.Secrets, secret)
	}
	if err := u.Check(); err != nil {
		return u, fail(http.StatusUnprocessableEntity, "%v", err)
	}
	return u, nil
}

// check returns the first error that a table of the configuration file with these keys
// has. A user without a secret gets one.
func (d *userDocument) check() error {
	u := config.User{
		Name: d.Name, Note: d.Note, MaxConnections: d.MaxConnections, MaxAddresses: d.MaxAddresses,
		Quota: config.Bytes(d.Quota), QuotaDay: d.QuotaDay, RateUp: config.Bytes(d.RateUp), RateDown: config.Bytes(d.RateDown),
	}
	if err := u.QuotaPeriod.UnmarshalText([]byte(cmp.Or(d.QuotaPeriod, users.Once.String()))); err != nil {
		return config.KeyError{Key: "quota_period", Err: err}
	}
	for _, wrong := range u.Check() {
		if wrong.Key != "secret" {
			return wrong
		}
	}
	return nil
}

// windowText returns users.Limits.AddressWindow as the API, and the configuration file,
// have it: there 0 means not at all, and here the default.
func windowText(window time.Duration) string {
	return max(0, cmp.Or(window, users.DefaultAddressWindow)).String()
}

// parseWindow returns the users.Limits.AddressWindow for a text of the API, "" for the
// default.
func parseWindow(text string) (time.Duration, error) {
	window, err := time.ParseDuration(cmp.Or(text, users.DefaultAddressWindow.String()))
	switch {
	case err != nil:
		return 0, errors.New("want a duration, such as 10m")
	case window < 0:
		return 0, errors.New("must not be negative")
	case window == 0:
		return -1, nil
	}
	return window, nil
}

// maxNote limits the length of a note, in bytes.
const maxNote = 1000

// patch returns d with the keys of a merge patch, of which null ones have their default.
//
// Specification: https://www.rfc-editor.org/rfc/rfc7396
func (d userDocument) patch(patch map[string]json.RawMessage) (userDocument, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return d, err
	}
	var merged map[string]json.RawMessage
	if err := json.Unmarshal(text, &merged); err != nil {
		return d, err
	}
	for key, value := range patch {
		if string(value) == "null" {
			delete(merged, key)
		} else {
			merged[key] = value
		}
	}
	if text, err = json.Marshal(merged); err != nil {
		return d, err
	}
	next := newUserDocument()
	return next, unmarshal(text, &next)
}
