package migrate

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/internal/service/config"
)

// output is the configuration file that is written.
type output struct {
	settings map[string]string // literals by key
	order    []string
	users    []*user
	notes    []Note
}

// user is a user of the file: literals by key.
type user struct {
	name    string
	secrets []string
	limits  map[string]string
	order   []string
}

// set sets a key to a literal.
func (o *output) set(key, literal string) {
	if _, ok := o.settings[key]; !ok {
		o.order = append(o.order, key)
	}
	o.settings[key] = literal
}

// setText sets a key to a text, unless that is empty.
func (o *output) setText(key, text string) {
	if text != "" {
		o.set(key, config.Quote(text))
	}
}

// setList sets a key to a list of texts, unless that is empty.
func (o *output) setList(key string, texts []string) {
	if len(texts) > 0 {
		o.set(key, list(texts))
	}
}

func list(texts []string) string {
	var quoted []string
	for _, text := range texts {
		quoted = append(quoted, config.Quote(text))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// setNumber sets a key of a user to a number, unless that is 0 or less.
func (u *user) setNumber(key string, n int64) {
	if n > 0 {
		u.set(key, strconv.FormatInt(n, 10))
	}
}

func (u *user) set(key, literal string) {
	if _, ok := u.limits[key]; !ok {
		u.order = append(u.order, key)
	}
	u.limits[key] = literal
}

// addUser adds a user, whose name is changed if it would not be valid, and then kept as its
// note. A user without a valid secret is not added.
func (o *output) addUser(line int, option, name, secret string) *user {
	if _, err := config.ParseSecret(secret); err != nil {
		o.note(line, option, "the secret of %s is not taken over: %v", quoteOption(name), err)
		return nil
	}
	valid := o.validName(name)
	u := &user{name: valid, secrets: []string{secret}, limits: make(map[string]string)}
	if valid != name {
		who := "a user with a long name"
		if len(name) <= maxQuoted {
			who = "the user " + printable(name)
		}
		o.note(line, option, "%s is called %s here: names have letters of English, digits, dots, dashes and underscores, and are unique", who, valid)
		u.set("note", config.Quote(beginning(printable(name))))
	}
	o.users = append(o.users, u)
	return u
}

// beginning returns the first maxQuoted bytes of a text, and no part of a letter.
func beginning(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxQuoted)], "")
}

// validName returns a name like name that is valid and that no other user has. One in another
// script than Latin has nothing of it.
func (o *output) validName(name string) string {
	base := strings.Map(func(r rune) rune {
		if config.CheckName("x"+string(r)) == nil {
			return r
		}
		return '-'
	}, name)
	if base = base[:min(len(base), 56)]; strings.Trim(base, "-_.") == "" {
		base = "user"
	}
	valid := base
	for i := 2; slices.ContainsFunc(o.users, func(u *user) bool { return u.name == valid }); i++ {
		valid = base + "-" + strconv.Itoa(i)
	}
	return valid
}

// addDomains adds secrets for other domains to users with a key alone, so that their
// links with these domains work.
func (o *output) addDomains(domains []string) {
	for _, u := range o.users {
		for _, domain := range domains {
			if key, err := config.ParseSecret(u.secrets[0]); err == nil && key.Domain == "" {
				u.secrets = append(u.secrets, "ee"+hex.EncodeToString(key.Key[:])+hex.EncodeToString([]byte(domain)))
			}
		}
	}
}

func (o *output) sortedNotes() []Note {
	slices.SortStableFunc(o.notes, func(a, b Note) int { return a.Line - b.Line })
	return o.notes
}

// encode returns the file.
func (o *output) encode(from Program) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# The configuration of mtwire proxy, made of one of %s by mtwire config import.\n\n", from)
	for _, key := range o.order {
		fmt.Fprintf(&out, "%s = %s\n", key, o.settings[key])
	}
	if len(o.notes) > 0 {
		out.WriteString("\n# Not taken over as it is:\n#\n")
		for _, note := range o.notes {
			fmt.Fprintf(&out, "# %s\n", printable(note.String()))
		}
	}
	for _, u := range o.users {
		fmt.Fprintf(&out, "\n[[user]]\nname = %s\n", config.Quote(u.name))
		if len(u.secrets) == 1 {
			fmt.Fprintf(&out, "secret = %s\n", config.Quote(u.secrets[0]))
		} else {
			fmt.Fprintf(&out, "secrets = %s\n", list(u.secrets))
		}
		for _, key := range u.order {
			fmt.Fprintf(&out, "%s = %s\n", key, u.limits[key])
		}
	}
	return out.Bytes()
}
