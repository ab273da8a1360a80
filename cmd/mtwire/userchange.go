package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/spf13/cobra"
)

// defineIfMatch defines the flag of changes that depend on what was seen before.
func (f *userCommandFlags) defineIfMatch(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.ifMatch, "if-match", "", "change the user only if it still has this entity `TAG`, which mtwire user show prints")
}

func userAddCommand() *cobra.Command {
	v := &userVerb{
		use: "add NAME...", short: "Add users, and print their links",
		long: `Add users, with the limits of the flags and a secret of their own, and print their
links, on a terminal with QR codes. They can connect at once.`,
		example: `  mtwire user add alice
  mtwire user add bob carol --expires 30d --max-addresses 3
  mtwire user add dave --quota 100GiB --quota-period month --note 'until spring'`,
		names: someNames,
		define: func(f *userCommandFlags, cmd *cobra.Command) {
			f.limits.define(cmd.Flags())
			f.qr.define(cmd.Flags())
		},
		run: func(u *userRun, names []string) error {
			return u.withLinks(names, "added", func(name string) (admin.Answer, error) {
				body, err := u.limits.newUser(name)
				if err != nil {
					return admin.Answer{}, err
				}
				return u.Do(u.ctx, http.MethodPost, "/v1/users", body, "")
			})
		},
	}
	return v.command()
}

func userRotateCommand() *cobra.Command {
	var grace time.Duration
	v := &userVerb{
		use: "rotate NAME...", short: "Give users new secrets, and print their links",
		long: `Give users new secrets, and print their new links. Sessions with the secret before
are closed, and its links end, at once or after --grace.`,
		example: `  mtwire user rotate alice
  mtwire user rotate alice bob --grace 24h`,
		names: someNames,
		define: func(f *userCommandFlags, cmd *cobra.Command) {
			durationVar(cmd.Flags(), &grace, "grace", "how long the secrets before go on to work")
			f.defineIfMatch(cmd)
			f.qr.define(cmd.Flags())
		},
		check: func(*userCommandFlags, []string) error {
			if grace < 0 || grace > admin.MaxGrace {
				return fmt.Errorf("--grace: %v: want 0 to %.0fh", grace, admin.MaxGrace.Hours())
			}
			return nil
		},
		run: func(u *userRun, names []string) error {
			return u.withLinks(names, "rotated", func(name string) (admin.Answer, error) {
				return u.Do(u.ctx, http.MethodPost, admin.UserPath(name, "rotate"), map[string]any{"grace_seconds": grace.Seconds()}, u.ifMatch)
			})
		},
	}
	return v.command()
}

// userAndLinks is what add and rotate print as JSON.
type userAndLinks struct {
	User json.RawMessage `json:"user"`
	linksDocument
}

// withLinks calls change for each user, and prints what it has done and the links.
func (u *userRun) withLinks(names []string, done string, change func(name string) (admin.Answer, error)) error {
	var links []service.Link
	notes := make(map[string]bool) // that were printed
	err := u.each(names, func(name string) error {
		answer, err := change(name)
		if err != nil {
			return err
		}
		more, document, err := u.linksOf(name)
		if err != nil {
			return fmt.Errorf("%s, but its links are not known: %w", done, err)
		}
		if u.json {
			return u.printDocument(userAndLinks{answer.Document, document})
		}
		printStatus(u.cmd, "%s %s", done, name)
		for _, note := range document.Notes {
			if !notes[note] {
				printNote(u.cmd, note)
			}
			notes[note] = true
		}
		links = append(links, more...)
		return nil
	})
	if len(links) > 0 {
		if printErr := printLinks(u.cmd, links, u.qr); err == nil {
			err = printErr
		}
	}
	return err
}

func userSetCommand() *cobra.Command {
	v := &userVerb{
		use: "set NAME...", short: "Set or clear limits of users",
		long: `Set limits of users. What no flag names stays as it is, and none clears a limit.
Each change is printed. If another operator changes a user at the same time, one of
both changes fails, and says so.

Open sessions stay, except those of a user that may not go on: that has expired, or
has used up its quota.`,
		example: `  mtwire user set alice --max-connections 20 --rate-down 2MiB
  mtwire user set alice --quota 100GiB --quota-period month --quota-day 15
  mtwire user set alice bob --expires 2027-01-31 --time-zone Europe/Berlin
  mtwire user set alice --networks 192.0.2.0/24,2001:db8::/32
  mtwire user set alice --quota none --expires never --note ''`,
		names: someNames,
		define: func(f *userCommandFlags, cmd *cobra.Command) {
			f.limits.define(cmd.Flags())
			f.defineIfMatch(cmd)
		},
		check: func(f *userCommandFlags, _ []string) error {
			if len(f.limits.given) == 0 {
				return errors.New("nothing is to be set: mtwire user set --help lists the flags")
			}
			return nil
		},
		run: func(u *userRun, names []string) error {
			return u.each(names, func(name string) error {
				return u.patch(name, func(before *admin.UserItem) (map[string]any, error) { return u.limits.patch(before.TimeZone) })
			})
		},
	}
	return v.command()
}

func userDisableCommand() *cobra.Command {
	return userSwitchCommand(false, &userVerb{
		use: "disable NAME...", short: "Serve users no more, and keep them",
		long: `Disable users: their sessions are closed within a second, and new clients end as
those without a secret do. Secrets, limits and usage are kept.`,
		example: "  mtwire user disable alice bob",
	})
}

func userEnableCommand() *cobra.Command {
	return userSwitchCommand(true, &userVerb{
		use: "enable NAME...", short: "Serve users that were disabled",
		long:    "Serve users again that were disabled.",
		example: "  mtwire user enable alice bob",
	})
}

// userSwitchCommand returns the command that enables users, or disables them.
func userSwitchCommand(enabled bool, v *userVerb) *cobra.Command {
	v.names, v.define = someNames, (*userCommandFlags).defineIfMatch
	v.run = func(u *userRun, names []string) error {
		return u.each(names, func(name string) error {
			return u.patch(name, func(*admin.UserItem) (map[string]any, error) { return map[string]any{"enabled": enabled}, nil })
		})
	}
	return v.command()
}

// patch changes a user as it was read to what patch returns, and prints what has changed.
func (u *userRun) patch(name string, patch func(before *admin.UserItem) (map[string]any, error)) error {
	seen, err := u.Do(u.ctx, http.MethodGet, admin.UserPath(name), nil, "")
	if err != nil {
		return err
	}
	before, err := decodeUser(seen.Document)
	if err != nil {
		return err
	}
	tag := u.ifMatch
	if tag == "" {
		tag = seen.ETag
	}
	body, err := patch(&before)
	if err != nil {
		return err
	}
	answer, err := u.Do(u.ctx, http.MethodPatch, admin.UserPath(name), body, tag)
	if err != nil {
		return err
	}
	if u.json {
		return u.printDocument(answer.Document)
	}
	after, err := decodeUser(answer.Document)
	if err != nil {
		return err
	}
	lines := changes(&before, &after)
	if len(lines) == 0 {
		lines = []string{"nothing has changed"}
	}
	for _, line := range lines {
		if _, err := fmt.Fprintf(u.cmd.OutOrStdout(), "%s: %s\n", name, line); err != nil {
			return err
		}
	}
	return nil
}

func userRemoveCommand() *cobra.Command {
	v := &userVerb{
		use: "remove NAME...", short: "Remove users",
		long: `Remove users, without a question. Their sessions are closed within a second, and
their secrets and the count of their usage are gone; mtwire user disable keeps both.`,
		example: "  mtwire user remove alice bob",
		names:   someNames,
		define:  (*userCommandFlags).defineIfMatch,
		run: func(u *userRun, names []string) error {
			return u.each(names, u.remove)
		},
	}
	return v.command()
}

// remove removes a user, and prints what it was. One of the store that the configuration
// leaves out is not shown, and can be removed.
func (u *userRun) remove(name string) error {
	item, user, _, err := u.User(u.ctx, name)
	leftOut := admin.IsProblem(err, http.StatusNotFound)
	if err != nil && !leftOut {
		return err
	}
	if _, err := u.Do(u.ctx, http.MethodDelete, admin.UserPath(name), nil, u.ifMatch); err != nil {
		return err
	}
	switch {
	case leftOut && u.json:
		return u.printDocument(map[string]any{"removed": map[string]string{"name": name}})
	case leftOut:
		_, err = fmt.Fprintf(u.cmd.OutOrStdout(), "removed %s, which was left out\n", name)
		return err
	case u.json:
		return u.printDocument(map[string]json.RawMessage{"removed": user.Document})
	}
	_, err = fmt.Fprintf(u.cmd.OutOrStdout(), "removed %s, which was %s, had %s, and has moved %s\n", name, stateText(&item),
		plural(item.Usage.Connections, "connection"), byteText(item.Usage.Up+item.Usage.Down))
	return err
}

// plural returns a number of things.
func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
