package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/spf13/cobra"
)

// stateText returns in a word whether a user is served.
func stateText(item *admin.UserItem) string {
	switch {
	case !item.Enabled:
		return "disabled"
	case item.Expires != nil && !item.Expires.After(time.Now()):
		return "expired"
	case item.Quota > 0 && item.Usage.QuotaUsed >= item.Quota:
		return "over quota"
	}
	return "enabled"
}

// quotaText returns what a user has used of its quota, "-" without one.
func quotaText(item *admin.UserItem) string {
	if item.Quota == 0 {
		return "-"
	}
	text := byteText(item.Usage.QuotaUsed) + " of " + limitText(item.Quota)
	if item.QuotaPeriod != "none" {
		text += " a " + item.QuotaPeriod
	}
	return text
}

// limited returns a count, and its limit if there is one.
func limited(n, limit int) string {
	if limit == 0 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d of %d", n, limit)
}

// timeText returns a time in UTC to the minute, "-" for none.
func timeText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

func userListCommand() *cobra.Command {
	v := &userVerb{
		use: "list", short: "List users",
		long: `List the users of the configuration and those that were added, with what they use.
A narrow terminal gets fewer columns. Times are in UTC.`,
		example: `  mtwire user list
  mtwire user list --json`,
		names: noArguments,
		run: func(u *userRun, _ []string) error {
			if u.json {
				return u.printUsers()
			}
			all, err := u.Users(u.ctx)
			if err != nil {
				return err
			}
			return listTable(all).write(u.cmd.OutOrStdout(), tableWidth(u.cmd.OutOrStdout()))
		},
	}
	return v.command()
}

// printUsers prints all users as JSON.
func (u *userRun) printUsers() error {
	document, err := u.UsersDocument(u.ctx)
	if err != nil {
		return err
	}
	return u.printDocument(document)
}

// listTable returns the table of mtwire user list.
func listTable(all []admin.UserItem) *table {
	t := &table{columns: []column{
		{title: "NAME", rank: 0}, {title: "STATE", rank: 1}, {title: "CONNS", right: true, rank: 2}, {title: "ADDRESSES", right: true, rank: 7},
		{title: "QUOTA", rank: 5}, {title: "UP", right: true, rank: 4}, {title: "DOWN", right: true, rank: 3},
		{title: "EXPIRES", rank: 6}, {title: "LAST SEEN", rank: 8}, {title: "SOURCE", rank: 9}, {title: "NOTE", rank: 10},
	}}
	for i := range all {
		item := &all[i]
		t.add(item.Name, stateText(item), limited(item.Usage.Connections, item.MaxConnections), limited(item.Usage.Addresses, item.MaxAddresses),
			quotaText(item), byteText(item.Usage.Up), byteText(item.Usage.Down),
			timeText(item.Expires), timeText(item.Usage.Seen), item.Source, item.Note)
	}
	return t
}

func userShowCommand() *cobra.Command {
	v := &userVerb{
		use: "show NAME...", short: "Show users with their links and QR codes",
		long: `Show all that there is of users: limits, usage, and the links, on a terminal with QR
codes. Every reader of a link can use the proxy.`,
		example: `  mtwire user show alice
  mtwire user show alice --qr alice.png
  mtwire user show alice --json`,
		names:  someNames,
		define: func(f *userCommandFlags, cmd *cobra.Command) { f.qr.define(cmd.Flags()) },
		run:    func(u *userRun, names []string) error { return u.each(names, u.show) },
	}
	return v.command()
}

// show prints a user.
func (u *userRun) show(name string) error {
	item, user, usage, err := u.User(u.ctx, name)
	if err != nil {
		return err
	}
	links, document, err := u.linksOf(name)
	if err != nil {
		return err
	}
	secrets, err := u.Do(u.ctx, http.MethodGet, admin.UserPath(name, "secrets"), nil, "")
	if err != nil {
		return err
	}
	if u.json {
		return u.printDocument(struct {
			User    json.RawMessage `json:"user"`
			ETag    string          `json:"etag"`
			Usage   json.RawMessage `json:"usage"`
			Secrets json.RawMessage `json:"secrets"`
			linksDocument
		}{user.Document, user.ETag, usage.Document, secrets.Document, document})
	}
	out := u.cmd.OutOrStdout()
	if err := showText(out, &item, user.ETag, secrets.Document); err != nil {
		return err
	}
	for _, note := range document.Notes {
		printNote(u.cmd, note)
	}
	if err := printLinks(u.cmd, links, u.qr); err != nil {
		return err
	}
	for _, l := range document.Links {
		if _, err := fmt.Fprintln(out, l.HTTPS); err != nil {
			return err
		}
	}
	return nil
}

// showText writes a user without its links.
func showText(w io.Writer, item *admin.UserItem, etag string, secrets json.RawMessage) error {
	var kept struct {
		Secrets []string
		Retired []struct{ Until time.Time }
	}
	if err := json.Unmarshal(secrets, &kept); err != nil {
		return err
	}
	line := func(label, value string) {
		fmt.Fprintf(w, "%-16s %s\n", label, oneLine(value))
	}
	line("name", item.Name)
	line("state", stateText(item))
	line("source", map[string]string{"file": "the configuration", "store": "added at run time"}[item.Source])
	flags, texts := limitTexts(item)
	for _, flag := range flags {
		line(flag, texts[flag])
	}
	line("connections", limited(item.Usage.Connections, item.MaxConnections))
	line("addresses", limited(item.Usage.Addresses, item.MaxAddresses))
	line("up, down", byteText(item.Usage.Up)+", "+byteText(item.Usage.Down))
	if item.Quota > 0 {
		line("quota used", quotaText(item)+resetText(item))
	}
	line("last seen", timeText(item.Usage.Seen))
	line("refused", refusedText(item))
	line("secrets", strconv.Itoa(len(kept.Secrets)))
	for _, old := range kept.Retired {
		line("old secret until", timeText(&old.Until))
	}
	line("entity tag", etag)
	return nil
}

// resetText tells when a quota begins anew.
func resetText(item *admin.UserItem) string {
	if item.Usage.QuotaResets == nil {
		return ""
	}
	return ", anew on " + zonedTime(item.Usage.QuotaResets, item.TimeZone)
}

// refusedText returns how many clients were refused, by cause, "-" for none.
func refusedText(item *admin.UserItem) string {
	var parts []string
	for cause, n := range item.Usage.Refused {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", cause, n))
		}
	}
	slices.Sort(parts)
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

// usageFlags are those of mtwire user usage.
type usageFlags struct {
	all, reset bool
	days       int
}

func userUsageCommand() *cobra.Command {
	var f usageFlags
	v := &userVerb{
		use: "usage [NAME...]", short: "Show what users have moved, by day",
		long: `Show what users have moved: since they were added, in the quota's period, and on each
of the last days, from midnight to midnight UTC. --all shows all users, with their
sum and without days. --reset begins the count of the quota anew.`,
		example: `  mtwire user usage alice
  mtwire user usage alice --days 7
  mtwire user usage --all
  mtwire user usage alice --reset`,
		names: cobra.ArbitraryArgs,
		define: func(_ *userCommandFlags, cmd *cobra.Command) {
			cmd.Flags().BoolVar(&f.all, "all", false, "show all users")
			cmd.Flags().IntVar(&f.days, "days", 30, "largest `NUMBER` of days")
			cmd.Flags().BoolVar(&f.reset, "reset", false, "begin the count of the quota anew")
		},
		check: func(_ *userCommandFlags, names []string) error {
			switch {
			case f.all == (len(names) > 0):
				return errors.New("usage needs the name of a user, or --all")
			case f.all && f.reset:
				return errors.New("--reset is for the users that are named")
			case f.days < 0:
				return fmt.Errorf("--days: must not be negative, and is %d", f.days)
			}
			return nil
		},
		run: func(u *userRun, names []string) error {
			if f.all {
				return u.usageOfAll()
			}
			return u.each(names, func(name string) error { return u.usage(name, f) })
		},
	}
	return v.command()
}

// usageTable returns the table of users' usage.
func usageTable(all []admin.UserItem) *table {
	t := &table{columns: []column{
		{title: "NAME", rank: 0}, {title: "CONNS", right: true, rank: 4}, {title: "UP", right: true, rank: 3}, {title: "DOWN", right: true, rank: 2},
		{title: "TOTAL", right: true, rank: 1}, {title: "QUOTA", rank: 5}, {title: "ANEW ON", rank: 6}, {title: "LAST SEEN", rank: 7}, {title: "REFUSED", rank: 8},
	}}
	for i := range all {
		item := &all[i]
		t.add(item.Name, strconv.Itoa(item.Usage.Connections), byteText(item.Usage.Up), byteText(item.Usage.Down), byteText(item.Usage.Up+item.Usage.Down),
			quotaText(item), timeText(item.Usage.QuotaResets), timeText(item.Usage.Seen), refusedText(item))
	}
	return t
}

// usageOfAll prints the usage of all users, and its sum.
func (u *userRun) usageOfAll() error {
	if u.json {
		return u.printUsers()
	}
	all, err := u.Users(u.ctx)
	if err != nil {
		return err
	}
	t := usageTable(all)
	var connections int
	var up, down int64
	for i := range all {
		connections, up, down = connections+all[i].Usage.Connections, up+all[i].Usage.Up, down+all[i].Usage.Down
	}
	t.add(fmt.Sprintf("(%s)", plural(len(all), "user")), strconv.Itoa(connections), byteText(up), byteText(down), byteText(up+down), "", "", "", "")
	return t.write(u.cmd.OutOrStdout(), tableWidth(u.cmd.OutOrStdout()))
}

// usage prints the usage of a user, and its last days.
func (u *userRun) usage(name string, f usageFlags) error {
	if f.reset {
		if _, err := u.Do(u.ctx, http.MethodPost, admin.UserPath(name, "reset"), nil, ""); err != nil {
			return err
		}
	}
	item, _, usage, err := u.User(u.ctx, name)
	if err != nil {
		return err
	}
	answer, err := u.Do(u.ctx, http.MethodGet, admin.UserPath(name, "history"), nil, "")
	if err != nil {
		return err
	}
	var history struct {
		Days []json.RawMessage `json:"days"`
	}
	if err := json.Unmarshal(answer.Document, &history); err != nil {
		return err
	}
	last := history.Days[max(0, len(history.Days)-f.days):]
	if u.json {
		return u.printDocument(map[string]any{"name": name, "usage": usage.Document, "days": last})
	}
	days, err := daysTable(last)
	if err != nil {
		return err
	}
	out := u.cmd.OutOrStdout()
	err = usageTable([]admin.UserItem{item}).write(out, tableWidth(out))
	if err == nil && len(last) > 0 {
		fmt.Fprintln(out)
		err = days.write(out, tableWidth(out))
	}
	return err
}

// daysTable returns the table of days, with their sum.
func daysTable(documents []json.RawMessage) (*table, error) {
	t := &table{columns: []column{{title: "DAY"}, {title: "UP", right: true, rank: 2}, {title: "DOWN", right: true, rank: 1}, {title: "TOTAL", right: true}}}
	var up, down int64
	for _, text := range documents {
		var day struct {
			Day      string
			Up, Down int64
		}
		if err := json.Unmarshal(text, &day); err != nil {
			return nil, err
		}
		up, down = up+day.Up, down+day.Down
		t.add(day.Day, byteText(day.Up), byteText(day.Down), byteText(day.Up+day.Down))
	}
	t.add(fmt.Sprintf("(%s)", plural(len(documents), "day")), byteText(up), byteText(down), byteText(up+down))
	return t, nil
}
