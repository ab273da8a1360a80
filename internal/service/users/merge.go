package users

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// TakenError is the error of a user whose name or secret another user has, or, if Other is
// nil, whose secret the modes of the proxy do not allow.
type TakenError struct {
	User, Other *User
	Secret      bool // false means the name
}

func (e *TakenError) Error() string {
	if e.Other == nil {
		return fmt.Sprintf("user %q has a secret that no client can use in the modes of the proxy", e.User.Name)
	}
	if e.Secret && e.User.Name == e.Other.Name {
		return fmt.Sprintf("user %q has a secret twice, if the modes of its secrets do not count", e.User.Name)
	}
	if e.Secret {
		return fmt.Sprintf("users %q (%v) and %q (%v) have the same secret", e.Other.Name, e.Other.Source, e.User.Name, e.User.Source)
	}
	return fmt.Sprintf("there is a user %q twice: %v and %v", e.User.Name, e.Other.Source, e.User.Source)
}

// index has the users by what exists once.
type index struct {
	names   map[string]*User
	secrets map[mtproxy.Secret]*User // in any mode
}

func newIndex(size int) *index {
	return &index{make(map[string]*User, size), make(map[mtproxy.Secret]*User, size)}
}

// taken returns the error of u if another user has its name or a secret, or else nil.
func (x *index) taken(u *User) *TakenError {
	if other := x.names[u.Name]; other != nil {
		return &TakenError{User: u, Other: other}
	}
	for secret := range u.secrets() {
		if other := x.secrets[secret]; other != nil {
			return &TakenError{User: u, Other: other, Secret: true}
		}
	}
	return nil
}

// add adds u, which must not be changed afterwards. The error is a *TakenError.
func (x *index) add(u *User) error {
	taken := x.taken(u)
	if taken == nil {
		taken = x.addFree(u)
	}
	if taken != nil {
		return taken
	}
	return nil
}

// addFree is add for a user whose name and secrets no other one has. The error is that of a
// secret that u has twice.
func (x *index) addFree(u *User) *TakenError {
	x.names[u.Name] = u
	for secret := range u.secrets() {
		if x.secrets[secret] != nil {
			return &TakenError{User: u, Other: u, Secret: true}
		}
		x.secrets[secret] = u
	}
	return nil
}

// secrets returns all secrets of u, with those that were replaced, without their mode.
func (u *User) secrets() iter.Seq[mtproxy.Secret] {
	without := func(secret mtproxy.Secret) mtproxy.Secret {
		return mtproxy.Secret{Key: secret.Key, Domain: strings.ToLower(secret.Domain)}
	}
	return func(yield func(mtproxy.Secret) bool) {
		for _, secret := range u.Secrets {
			if !yield(without(secret)) {
				return
			}
		}
		for _, retired := range u.Retired {
			if !yield(without(retired.Secret)) {
				return
			}
		}
	}
}

// Merge returns list, if each name and each secret in it exists once. Otherwise the error
// is a *TakenError.
func Merge(list []User) ([]User, error) {
	x := newIndex(len(list))
	for i := range list {
		if err := x.add(&list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Overlay returns the users that are configured and those of the store, in their order. A
// user of the store whose name or secret a configured one has, or with a secret that modes do
// not allow, is left out, with the error of that. Otherwise a name exists once, and so does a
// secret: err is a *TakenError.
func Overlay(configured, stored []User, modes mtproxy.Modes) (all []User, leftOut []*TakenError, err error) {
	x := newIndex(len(configured) + len(stored))
	for i := range configured {
		if err := x.add(&configured[i]); err != nil {
			return nil, nil, err
		}
	}
	if all = slices.Clip(configured); len(stored) > 0 {
		all = append(make([]User, 0, len(configured)+len(stored)), configured...)
	}
	for i := range stored {
		u := &stored[i]
		taken := x.taken(u)
		switch {
		case taken != nil && taken.Other.Source != Store:
			leftOut = append(leftOut, taken)
			continue
		case !u.isUsable(modes):
			leftOut = append(leftOut, &TakenError{User: u, Secret: true})
			continue
		case taken == nil:
			taken = x.addFree(u)
		}
		if taken != nil {
			return nil, nil, taken
		}
		all = append(all, *u)
	}
	return all, leftOut, nil
}

// isUsable reports whether modes allow all secrets of u. 0 means all modes.
func (u *User) isUsable(modes mtproxy.Modes) bool {
	unusable := func(secret mtproxy.Secret) bool { return modes != 0 && secret.Modes()&modes == 0 }
	return !slices.ContainsFunc(u.Secrets, unusable) &&
		!slices.ContainsFunc(u.Retired, func(old RetiredSecret) bool { return unusable(old.Secret) })
}

// Proxies returns users as the proxy's, with the secrets that clients may have now.
func Proxies(list []User) []proxy.User {
	now := time.Now()
	all := make([]proxy.User, len(list))
	for i := range list {
		all[i] = proxy.User{Name: list[i].Name, Secrets: list[i].SecretsAt(now)}
	}
	return all
}

// SecretsDiffer reports whether a retired secret is accepted at one of two times and not at the
// other: the proxy's users are others then. The clock may have been set back between them.
func SecretsDiffer(list []User, at, now time.Time) bool {
	for i := range list {
		for _, old := range list[i].Retired {
			if old.Until.After(at) != old.Until.After(now) {
				return true
			}
		}
	}
	return false
}
