package users

import (
	"fmt"
	"strings"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// TakenError is the error of a user whose name or secret another user has.
type TakenError struct {
	User, Other *User
	Secret      bool // false means the name
}

func (e *TakenError) Error() string {
	if e.Secret {
		return fmt.Sprintf("users %q (%v) and %q (%v) have the same secret", e.Other.Name, e.Other.Source, e.User.Name, e.User.Source)
	}
	return fmt.Sprintf("there is a user %q twice: %v and %v", e.User.Name, e.Other.Source, e.User.Source)
}

// Merge returns the users of all lists, in their order. A name exists once, and so does
// a secret: otherwise the error is a *TakenError. The result may be one of the lists.
func Merge(lists ...[]User) ([]User, error) {
	total := 0
	for _, list := range lists {
		total += len(list)
	}
	all := make([]User, 0, total)
	names := make(map[string]int, total)
	secrets := make(map[mtproxy.Secret]int, total)
	for _, list := range lists {
		for i := range list {
			u := &list[i]
			if other, taken := names[u.Name]; taken {
				return nil, &TakenError{User: u, Other: &all[other]}
			}
			names[u.Name] = len(all)
			all = append(all, *u)
			take := func(secret mtproxy.Secret) error {
				secret = mtproxy.Secret{Key: secret.Key, Domain: strings.ToLower(secret.Domain)} // in any mode
				if other, taken := secrets[secret]; taken {
					return &TakenError{User: u, Other: &all[other], Secret: true}
				}
				secrets[secret] = len(all) - 1
				return nil
			}
			for _, secret := range u.Secrets {
				if err := take(secret); err != nil {
					return nil, err
				}
			}
			for _, retired := range u.Retired {
				if err := take(retired.Secret); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, list := range lists {
		if len(list) == total {
			return list, nil // the others are empty
		}
	}
	return all, nil
}

// Proxies returns users as the proxy's, with the secrets that clients may have now.
func Proxies(list []User) []proxy.User {
	now := time.Now()
	all := make([]proxy.User, len(list))
	for i := range list {
		all[i] = proxy.User{Name: list[i].Name, Secrets: list[i].SecretsAt(now), AdTag: list[i].AdTag}
	}
	return all
}

// SecretEnds reports whether the time of a retired secret is over at some time after
// from, up to to: the proxy's users are others then.
func SecretEnds(list []User, from, to time.Time) bool {
	for i := range list {
		for _, old := range list[i].Retired {
			if old.Until.After(from) && !old.Until.After(to) {
				return true
			}
		}
	}
	return false
}
