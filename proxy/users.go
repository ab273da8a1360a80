package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/internal/keysearch"
	"github.com/mtwire/mtwire/mtproxy"
)

// User is a person or a group that may use the proxy. Name is its identity: two
// users differ in it. It must not change once it is passed to the proxy.
type User struct {
	// Name identifies the user, in the log as well. It may be empty for one.
	Name string

	// Secrets are what the user's clients may have, several during a rotation.
	// The mode of a secret is the least that its clients must use: a dd secret
	// allows dd and ee, a plain one all three. No two users share a secret, and the
	// zero Secret is an error.
	Secrets []mtproxy.Secret

	// AdTag is the user's ad tag, which is passed to upstreams that take one. None does
	// yet: it takes a middle proxy, which is no upstream of this package. So it does
	// nothing but end the user's sessions when it changes.
	AdTag []byte
}

// has reports whether secret is one of u's.
func (u *User) has(secret mtproxy.Secret) bool { return slices.Contains(u.Secrets, secret) }

func (u *User) equal(other *User) bool {
	return u.Name == other.Name && slices.Equal(u.Secrets, other.Secrets) && bytes.Equal(u.AdTag, other.AdTag)
}

var (
	errNoUsers   = errors.New("proxy: no secret")
	errUserGone  = errors.New("the user was removed, or has another secret or ad tag")
	errUserTaken = errors.New("have the same secret: keep the one that allows more")
)

// snapshot is the users as they are at one time. It is immutable: a change makes
// another one.
type snapshot struct {
	users     map[string]*User
	secrets   []userSecret // by the index that a search returns
	index     *keysearch.Index
	handshake handshake.Config
	settings  *settings
}

// userSecret is a secret and its user.
type userSecret struct {
	user  *User
	index int32         // in user.Secrets
	modes mtproxy.Modes // that the secret and the proxy allow
}

func (s userSecret) secret() mtproxy.Secret { return s.user.Secrets[s.index] }

// newSnapshot makes a snapshot of users. It fails if there are none, which would
// be a proxy without authentication, or without use; if a user's clients could
// not connect; and if a client of one user cannot be told from another's. Users
// that are as they were before keep their address.
func newSnapshot(users []User, before *snapshot, settings *settings) (*snapshot, error) {
	total := 0
	for i := range users {
		total += len(users[i].Secrets)
	}
	next := &snapshot{users: make(map[string]*User, len(users)), secrets: make([]userSecret, 0, total), settings: settings}
	owners := make(map[mtproxy.Secret]int, len(users))
	for i := range users {
		user := &users[i]
		if _, twice := next.users[user.Name]; twice {
			return nil, fmt.Errorf("proxy: two users are called %q", user.Name)
		}
		user = user.keep(before)
		next.users[user.Name] = user
		for k, secret := range user.Secrets {
			if secret == (mtproxy.Secret{}) {
				return nil, fmt.Errorf("proxy: secret %d of user %d, %q, is the zero Secret, which is none", k+1, i+1, user.Name)
			}
			modes := secret.Modes() & settings.Modes
			if modes == 0 {
				return nil, fmt.Errorf("proxy: no client can use the secret of user %d, %q: it allows %v, and the proxy %v",
					i+1, user.Name, secret.Modes(), settings.Modes)
			}
			anyMode := mtproxy.Secret{Key: secret.Key, Domain: strings.ToLower(secret.Domain)}
			if other, taken := owners[anyMode]; taken {
				return nil, fmt.Errorf("proxy: users %d, %q, and %d, %q, %w",
					other+1, users[other].Name, i+1, user.Name, errUserTaken)
			}
			owners[anyMode] = i
			next.secrets = append(next.secrets, userSecret{user, int32(k), modes})
		}
	}
	if len(next.secrets) == 0 {
		return nil, errNoUsers
	}
	return next, nil
}

// prepare completes a snapshot that is going to be used. The index it makes is the
// search's newest, for which the memory of addresses is kept.
func (n *snapshot) prepare(p *Proxy, hosts int) {
	entries := make([]keysearch.Entry, len(n.secrets))
	for i, s := range n.secrets {
		entries[i] = keysearch.Entry{Secret: s.secret(), Modes: s.modes}
	}
	n.index = p.search.NewIndex(entries)
	n.handshake = handshake.Config{
		Secrets:     true,
		FakeTLSOnly: n.index.NeedsFakeTLS(),
		ClockWindow: n.settings.ClockWindow,
	}
	if hosts > 0 {
		n.handshake.Timeout = -1 // the hosts' own timeouts apply
	}
}

// keep returns the user of before that equals u, or else a copy of u.
func (u *User) keep(before *snapshot) *User {
	if before != nil {
		if old := before.users[u.Name]; old != nil && old.equal(u) {
			return old
		}
	}
	return &User{Name: u.Name, Secrets: slices.Clone(u.Secrets), AdTag: bytes.Clone(u.AdTag)}
}

// CheckUsers returns the error that SetUsers would return because of users. It changes
// nothing.
func (p *Proxy) CheckUsers(users []User) error {
	_, _, err := p.checkUsers(users, p.settings())
	return err
}

// checkUsers returns the snapshot of users under settings, and their fronting hosts. It
// changes nothing.
func (p *Proxy) checkUsers(users []User, settings *settings) (*snapshot, []fronting.Host, error) {
	hosts, err := fronts(&settings.Config, users)
	if err != nil {
		return nil, nil, err
	}
	next, err := newSnapshot(users, p.users.Load(), settings)
	if err != nil {
		return nil, nil, err
	}
	return next, hosts, p.fronts.CheckHosts(hosts)
}

// SetUsers replaces the users, for connections that are not authenticated yet and
// those to come. It closes the sessions of users that are gone, have another ad
// tag, or do not have the session's secret any more, and keeps the rest. If it
// returns an error, nothing has changed.
func (p *Proxy) SetUsers(users []User) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	return p.setUsers(users, p.settings())
}

// setUsers is SetUsers with settings that may be others. Under changing.
func (p *Proxy) setUsers(users []User, settings *settings) error {
	next, hosts, err := p.checkUsers(users, settings)
	if err == nil {
		p.apply(next, hosts)
	}
	return err
}

// apply puts a snapshot in force, and its fronting hosts, which were checked. Under
// changing.
func (p *Proxy) apply(next *snapshot, hosts []fronting.Host) {
	if err := p.fronts.SetHosts(hosts); err != nil {
		panic("proxy: internal error: " + err.Error())
	}
	next.prepare(p, len(hosts))
	p.users.Store(next)
	p.forgetUsers(next)
	p.log.forgetUsers(next)
	p.each((*session).checkUser)
}

// Users returns the users as they are now, sorted by name.
func (p *Proxy) Users() []*User {
	all := make([]*User, 0)
	for _, user := range p.users.Load().users {
		all = append(all, user)
	}
	slices.SortFunc(all, func(a, b *User) int { return strings.Compare(a.Name, b.Name) })
	return all
}
