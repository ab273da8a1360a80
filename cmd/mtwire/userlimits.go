package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/spf13/pflag"
)

// limitFlags are the flags of a user's limits. given has a value for each key of the API
// whose flag was given; nil stands for the default, which is no limit.
type limitFlags struct{ given map[string]any }

// limitFlag is one of them, as a pflag.Value.
type limitFlag struct {
	flags *limitFlags
	key   string // of the API
	none  string // the text, besides "" and none, that clears the limit
	parse func(text string) (any, error)
	text  string
}

// limitDefinition is the definition of a limitFlag.
type limitDefinition struct {
	flag, none, usage string
	parse             func(text string) (any, error)
}

// limitDefinitions are those of all limits. A flag has the name of its key in the
// configuration file, with dashes.
var limitDefinitions = []limitDefinition{
	{"expires", "never", "`TIME` from which on the user is not served: 2027-01-31 or 2027-01-31T12:00:00, in --time-zone; a time with a zone of its own; 30d or 12h from now; or never", parseExpiry},
	{"max-connections", "", "largest `NUMBER` of connections at the same time", parseCount},
	{"max-addresses", "", "largest `NUMBER` of addresses that clients come from", parseCount},
	{"address-window", "", "`DURATION` for which an address counts after its last connection (default 10m)", parseWindow},
	{"networks", "all", "`NETWORKS` that clients may come from, with commas between; all for any", parseNetworks},
	{"quota", "", "`BYTES` of both directions together, such as 100GiB, in --quota-period", parseBytes},
	{"quota-period", "", "`PERIOD` after which the quota begins anew: day, week, month or none", parsePeriod},
	{"quota-day", "", "`DAY` on which a period begins: 1 to 7 of a week, from Monday, or 1 to 31 of a month", parseCount},
	{"time-zone", "", "`ZONE` of midnight and of --expires, such as Europe/Berlin (default UTC)", parseZone},
	{"rate-up", "", "`BYTES` a second from clients, such as 1MiB, for all connections together", parseBytes},
	{"rate-down", "", "`BYTES` a second to clients", parseBytes},
	{"note", "", "`TEXT` for operators", func(text string) (any, error) { return text, nil }},
}

// define defines the flags.
func (l *limitFlags) define(flags *pflag.FlagSet) {
	l.given = make(map[string]any)
	for _, d := range limitDefinitions {
		flags.Var(&limitFlag{flags: l, key: strings.ReplaceAll(d.flag, "-", "_"), none: d.none, parse: d.parse}, d.flag, d.usage)
	}
}

// Set parses a value.
func (f *limitFlag) Set(text string) error {
	text = strings.TrimSpace(text)
	f.text = text
	if text == "" || f.none != "" && text == f.none || text == "none" && f.key != "note" {
		f.flags.given[f.key] = nil
		return nil
	}
	value, err := f.parse(text)
	if err != nil {
		return err
	}
	f.flags.given[f.key] = value
	return nil
}

// String returns the text that was parsed.
func (f *limitFlag) String() string { return f.text }

// Type is the name of the value in the help text, which all flags have.
func (f *limitFlag) Type() string { return "value" }

// expiry is the value of --expires.
type expiry struct {
	config.Time
	after time.Duration // from now, if it is not 0
}

func parseExpiry(text string) (any, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return expiry{after: time.Duration(n) * 24 * time.Hour}, nil
		}
	}
	if after, err := time.ParseDuration(text); err == nil && after > 0 {
		return expiry{after: after}, nil
	}
	var e expiry
	if err := e.UnmarshalText([]byte(text)); err != nil {
		return nil, fmt.Errorf("%w; 30d and never are possible, too", err)
	}
	return e, nil
}

func parseCount(text string) (any, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%q is no number: want 0 or more, or none", text)
	}
	return n, nil
}

func parseWindow(text string) (any, error) {
	d, err := config.ParseDuration(text)
	return d.String(), err
}

func parseNetworks(text string) (any, error) {
	var networks []string
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		var network config.Network
		if err := network.UnmarshalText([]byte(part)); err != nil {
			return nil, err
		}
		networks = append(networks, network.String())
	}
	return networks, nil
}

func parseBytes(text string) (any, error) {
	var b config.Bytes
	err := b.UnmarshalText([]byte(text))
	return int64(b), err
}

func parsePeriod(text string) (any, error) {
	var p config.Period
	err := p.UnmarshalText([]byte(text))
	return p.String(), err
}

func parseZone(text string) (any, error) {
	var z config.Zone
	err := z.UnmarshalText([]byte(text))
	return string(z), err
}

// patch returns the values that were given as a merge patch for a user with a time zone.
// What is about a quota, or about its period, goes with it. To expire in the past is an
// error: the year is wrong more often than right, and all sessions would be closed.
func (l *limitFlags) patch(zone string) (patch map[string]any, err error) {
	patch = maps.Clone(l.given)
	clearWith := func(key string, others ...string) {
		for _, other := range others {
			if _, given := patch[other]; !given {
				patch[other] = nil
			}
		}
	}
	if quota, given := patch["quota"]; given && (quota == nil || quota == int64(0)) {
		clearWith("quota", "quota_period", "quota_day")
	}
	if period, given := patch["quota_period"]; given && period != "week" && period != "month" {
		clearWith("quota_period", "quota_day")
	}
	if given, ok := patch["time_zone"].(string); ok {
		zone = given
	} else if _, cleared := patch["time_zone"]; cleared {
		zone = "UTC"
	}
	if e, ok := patch["expires"].(expiry); ok {
		at := time.Now().Add(e.after).Truncate(time.Second)
		if e.after == 0 {
			at = e.In(config.Zone(zone).Location())
			if !at.After(time.Now()) {
				return nil, fmt.Errorf("--expires: %s is in the past: mtwire user disable ends a user now, and so does --expires 1s", zonedTime(&at, zone))
			}
		}
		patch["expires"] = at.UTC()
	}
	return patch, nil
}

// newUser returns the body of a request for a new user.
func (l *limitFlags) newUser(name string) (body map[string]any, err error) {
	if body, err = l.patch("UTC"); err != nil {
		return nil, err
	}
	maps.DeleteFunc(body, func(_ string, value any) bool { return value == nil })
	body["name"] = name
	return body, nil
}

// limitTexts returns a user's settings as texts, by the flag, in the order of the flags.
// Those without a limit have none.
func limitTexts(item *admin.UserItem) (flags []string, texts map[string]string) {
	texts = make(map[string]string)
	set := func(flag string, text string, there bool) {
		flags = append(flags, flag)
		if texts[flag] = "none"; there {
			texts[flag] = text
		}
	}
	set("expires", zonedTime(item.Expires, item.TimeZone), item.Expires != nil)
	set("max-connections", strconv.Itoa(item.MaxConnections), item.MaxConnections > 0)
	set("max-addresses", strconv.Itoa(item.MaxAddresses), item.MaxAddresses > 0)
	set("address-window", durationText(item.AddressWindow), item.AddressWindow != "0s")
	set("networks", strings.Join(item.Networks, ", "), len(item.Networks) > 0)
	set("quota", limitText(item.Quota), item.Quota > 0)
	set("quota-period", item.QuotaPeriod, item.QuotaPeriod != "none")
	set("quota-day", strconv.Itoa(item.QuotaDay), item.QuotaDay > 0)
	set("time-zone", item.TimeZone, true)
	set("rate-up", limitText(item.RateUp)+"/s", item.RateUp > 0)
	set("rate-down", limitText(item.RateDown)+"/s", item.RateDown > 0)
	set("note", item.Note, item.Note != "")
	return flags, texts
}

// limitText returns a number of bytes as it can be given: exactly, with the largest unit
// that divides it.
func limitText(n int64) string {
	best := n
	text := fmt.Sprintf("%d B", n)
	for _, unit := range []string{"TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB"} {
		var size config.Bytes
		if err := size.UnmarshalText([]byte("1" + unit)); err != nil || n%int64(size) != 0 {
			continue
		}
		if number := n / int64(size); number < best {
			best, text = number, fmt.Sprintf("%d %s", number, unit)
		}
	}
	return text
}

// durationText returns a duration such as 10m0s without its zeros.
func durationText(text string) string {
	for _, zeros := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zeros) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// zonedTime returns a time in a zone.
func zonedTime(t *time.Time, zone string) string {
	if t == nil {
		return ""
	}
	return t.In(config.Zone(zone).Location()).Format("2006-01-02 15:04:05 MST")
}

// changes returns a line for each setting that differs in two states of a user.
func changes(before, after *admin.UserItem) (lines []string) {
	flags, old := limitTexts(before)
	_, now := limitTexts(after)
	if before.Enabled != after.Enabled {
		flags, old["state"], now["state"] = slices.Insert(flags, 0, "state"), stateText(before), stateText(after)
	}
	for _, flag := range flags {
		if old[flag] != now[flag] {
			lines = append(lines, fmt.Sprintf("%s: %s, was %s", flag, oneLine(now[flag]), oneLine(old[flag])))
		}
	}
	return lines
}

// decodeUser parses a user of the API.
func decodeUser(document json.RawMessage) (item admin.UserItem, err error) {
	err = json.Unmarshal(document, &item)
	return item, err
}
