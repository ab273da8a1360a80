package service

import (
	"log/slog"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// NamedSecret is the secret of a user, with the user's name for the log:
//
//	SECRET
//	NAME=SECRET
//
// In place of SECRET there may be a link that has it. Both may be as they were copied
// from a text: see mtproxy.TrimPasted. A user without a name is named after the
// position in Config.Secrets, from 1.
//
// String, MarshalText and LogValue leave the key out, so UnmarshalText does not
// parse what they return. Errors quote nothing of the text: after a typing mistake
// a part of a secret may look like a name.
type NamedSecret struct {
	Name   string // "" for none
	Secret mtproxy.Secret
}

// HasCredentials reports whether n has a secret. Its key is not in its text.
func (n NamedSecret) HasCredentials() bool { return n.Secret.Mode != 0 }

// UnmarshalText parses either form. After an error n is unchanged.
//
// A text that is a secret as a whole is one: base64 may end in "=". A secret never
// has "=" before its end, so NAME=SECRET is never a secret as a whole.
func (n *NamedSecret) UnmarshalText(text []byte) error {
	pasted := mtproxy.TrimPasted(string(text))
	secret, err := config.ParseSecret(pasted)
	if err == nil {
		*n = NamedSecret{"", secret}
		return nil
	}
	name, rest, found := strings.Cut(pasted, "=")
	if !found || strings.Trim(rest, "=") == "" || mtproxy.IsLink(pasted) {
		return err
	}
	name = strings.TrimSpace(name)
	if err := config.CheckName(name); err != nil {
		return err
	}
	if secret, err = config.ParseSecret(rest); err != nil {
		return err
	}
	*n = NamedSecret{name, secret}
	return nil
}

// String returns the name and the redacted secret.
func (n NamedSecret) String() string {
	if n.Name == "" {
		return n.Secret.Redacted()
	}
	return n.Name + "=" + n.Secret.Redacted()
}

// MarshalText returns the same text as String.
func (n NamedSecret) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// LogValue returns the same text as String.
func (n NamedSecret) LogValue() slog.Value { return slog.StringValue(n.String()) }

// usersOf returns a user for each secret. Names must differ, and so must secrets.
func usersOf(secrets []NamedSecret) (users []proxy.User, err error) {
	positions := make(map[string]int)
	for i, n := range secrets {
		if n.Name == "" {
			n.Name = strconv.Itoa(i + 1)
		}
		if before, ok := positions[n.Name]; ok {
			return nil, configError("secret", "numbers %d and %d are both called %q", before, i+1, n.Name)
		}
		positions[n.Name] = i + 1
		users = append(users, proxy.User{Name: n.Name, Secrets: []mtproxy.Secret{n.Secret}})
	}
	keys := make(map[mtproxy.Secret]int, len(secrets))
	for i, n := range secrets {
		if before, ok := keys[withoutMode(n.Secret)]; ok {
			return nil, configError("secret", "numbers %d and %d are the same secret: users %q and %q", before, i+1, users[before-1].Name, users[i].Name)
		}
		keys[withoutMode(n.Secret)] = i + 1
	}
	return users, nil
}
