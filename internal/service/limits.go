package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/store"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// storeDir is the directory of the store in the state directory.
const storeDir = "store"

// storePath returns the directory of the store.
func (c *Config) storePath() (string, error) {
	dir, err := stateDirectory(c.State)
	return filepath.Join(dir, storeDir), err
}

// readStored returns the users that were added at run time. It changes nothing: a file
// that is damaged is set aside when the store is opened.
func (c *Config) readStored(log *slog.Logger) []users.User {
	path, err := c.storePath()
	if err != nil {
		return nil // there is none
	}
	list, err := store.ReadUsers(path)
	if err != nil {
		log.Warn("the users that were added at run time are missing: their file cannot be read", "directory", path, "error", err)
	}
	return list
}

// readCounters returns the users' usage as it was last written. It changes nothing, as
// readStored.
func (c *Config) readCounters(log *slog.Logger) []users.Counter {
	path, err := c.storePath()
	if err != nil {
		return nil // there is none
	}
	counters, err := store.ReadCounters(path)
	if err != nil {
		log.Warn("it is not known which users are over their quota: the file with their usage cannot be read", "directory", path, "error", err)
	}
	return counters
}

// limit sets the users with their limits: those that are configured, and those that were
// added at run time.
func (s *Service) limit(configured, stored []users.User) error {
	all, leftOut, err := users.Overlay(configured, stored, s.config.Modes)
	if err != nil {
		return err
	}
	if len(all) == 0 && len(leftOut) > 0 {
		return errAllLeftOut(leftOut, s.config.Modes)
	}
	s.setLimited(all, len(configured), leftOut)
	return nil
}

// errAllLeftOut returns the error of a proxy whose only users were added at run time, and are left
// out.
func errAllLeftOut(leftOut []*users.TakenError, modes mtproxy.Modes) error {
	names := make([]string, 0, len(leftOut))
	for _, taken := range leftOut {
		names = append(names, taken.User.Name)
	}
	return configError("modes", "%v allows no secret of the users, all of which were added at run time: %s; allow their modes, or configure a secret", modes, someOf(names))
}

// setLimited sets the users, of which the first are configured ones. They are there once:
// there may be a hundred thousand.
func (s *Service) setLimited(all []users.User, configured int, leftOut []*users.TakenError) {
	s.limited, s.configured, s.leftOut = all, all[:configured:configured], leftOut
}

// warnOfLeftOut warns of the users that were added at run time and are left out.
func (s *Service) warnOfLeftOut() {
	for _, taken := range s.leftOut {
		if taken.Other == nil {
			s.log.Warn("a user that was added at run time is left out, and kept in the store: the modes do not allow its secret; "+
				"change them, or remove this one over the admin listener", "user", taken.User.Name, "modes", s.config.Modes.String())
			continue
		}
		what := "name"
		if taken.Secret {
			what = "secret"
		}
		attrs := []any{"user", taken.User.Name, "configured", taken.Other.Name}
		if at := s.userPosition(taken.Other.Name); at != "" {
			attrs = append(attrs, "at", at)
		}
		s.log.Warn("a user that was added at run time is left out, and kept in the store: a configured user has its "+what+
			"; change that one and reload, or remove this one over the admin listener", attrs...)
	}
}

// userPosition returns where the configuration has a user, "" if that is not known: the
// position of its table, or else the file with secrets, which may have it.
func (s *Service) userPosition(name string) string {
	c, before := &s.config, len(s.configured)-s.fromFile
	i := slices.IndexFunc(s.configured, func(u users.User) bool { return u.Name == name }) - before
	switch {
	case i >= 0 && c.Position != nil:
		return c.Position(fmt.Sprintf("user[%d].name", i))
	case i < 0 && !slices.ContainsFunc(c.Secrets, func(n NamedSecret) bool { return n.Name == name }):
		return c.SecretsFile
	}
	return ""
}

// limited returns the users of list with their limits. The last are those of c.Users, in
// their order.
func (c *Config) limited(list []proxy.User) ([]users.User, error) {
	all, before := make([]users.User, len(list)), len(list)-len(c.Users)
	for k := range list {
		u := &all[k]
		u.Name, u.Secrets = list[k].Name, list[k].Secrets
		i := k - before
		if i < 0 {
			continue
		}
		u.Note, u.Limits = c.Users[i].Note, limitsOf(&c.Users[i])
		var wrong *users.LimitError
		if errors.As(u.Limits.Check(), &wrong) {
			return nil, configError(fmt.Sprintf("user[%d].%s", i, wrong.Limit), "%w", wrong.Err)
		}
	}
	return all, nil
}

// limitsOf returns the limits of a user of the configuration file.
func limitsOf(u *config.User) users.Limits {
	l := users.Limits{
		Disabled:       !u.Enabled,
		Expires:        u.ExpiresAt(),
		MaxConnections: u.MaxConnections,
		MaxAddresses:   u.MaxAddresses,
		AddressWindow:  u.AddressWindow,
		Quota: users.Quota{
			Bytes:    int64(u.Quota),
			Period:   periods[u.QuotaPeriod],
			Day:      u.QuotaDay,
			Location: u.TimeZone.Location(),
		},
		RateUp:   int64(u.RateUp),
		RateDown: int64(u.RateDown),
	}
	if u.AddressWindow == 0 {
		l.AddressWindow = -1 // 0 means the default there
	}
	for _, network := range u.Networks {
		l.Networks = append(l.Networks, network.Prefix)
	}
	return l
}

var periods = map[config.Period]users.Period{
	config.NoPeriod: users.Once, config.Day: users.Daily, config.Week: users.Weekly, config.Month: users.Monthly,
}

// setUsers replaces the users of the running proxy by those of limit.
func (s *Service) setUsers() error {
	s.policy.Set(s.limited)
	s.secretsAt = time.Now().Round(0)
	err := s.proxy.SetUsers(users.Proxies(s.limited))
	if err == nil {
		s.web.setUsers(s.limited)
	}
	return err
}

// openStore opens the store, with the counters of earlier runs. It comes before the first
// client.
func (s *Service) openStore() {
	path, err := s.config.storePath()
	if err != nil {
		return // keepHandshakes has reported it
	}
	s.store = store.Open(path, store.Options{Log: s.log, Time: wallClock})
	s.loads = s.store.Loads()
	s.policy.Restore(s.store.Counters())
	s.listStored()
}

// runLimits closes the sessions of users that may not go on, and writes what is counted,
// until stop is called, after the last session.
func (s *Service) runLimits() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go s.policy.Run(ctx)
	go s.followSecrets(ctx)
	if s.store == nil {
		return cancel
	}
	go s.store.Run(ctx, s.policy)
	return func() {
		cancel()
		s.store.Close() // which has logged an error
	}
}

// secretInterval is the time between two looks at the secrets that were retired.
const secretInterval = 5 * time.Second

// followSecrets looks again and again which secrets that were retired are accepted.
func (s *Service) followSecrets(ctx context.Context) {
	ticker := time.NewTicker(secretInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.followStore()
			s.changeSecrets()
		case <-ctx.Done():
			return
		}
	}
}

// changeSecrets replaces the proxy's users if the time of a secret has ended since they were made. If
// the clock was set back, it may go on.
func (s *Service) changeSecrets() {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if !users.SecretsDiffer(s.limited, s.secretsAt, time.Now()) {
		return
	}
	if err := s.setUsers(); err != nil { // all secrets of all users have ended
		s.log.Warn("a secret that was replaced is still accepted", "error", err)
	}
}

// followStore puts the users and networks in force that another process has added to the store, while
// this one did not have it: the proxy before this one, or mtwire user, which began when no
// proxy ran.
func (s *Service) followStore() {
	if s.store == nil {
		return
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	loads := s.store.Loads()
	if loads == s.loads {
		return
	}
	s.loads = loads
	s.listStored()
	defer beThrifty(s.config.hasManyUsers())()
	all, leftOut, err := users.Overlay(s.configured, s.store.Users(), s.config.Modes)
	if err == nil {
		if sameUsers(all, s.limited) {
			return
		}
		err = s.proxy.CheckUsers(users.Proxies(all))
	}
	if err != nil {
		s.log.Warn("the users that another process has added are not in force", "error", err)
		return
	}
	s.setLimited(all, len(s.configured), leftOut)
	if err := s.setUsers(); err != nil { // they were checked
		return
	}
	s.warnOfLeftOut()
	s.log.Info("another process has changed the users", "users", len(all))
}

// Users returns the users with their limits and usage.
func (s *Service) Users() *users.Policy { return s.policy }

// Store returns what keeps the users' usage. It is nil before Listen, and if there is no
// state directory.
func (s *Service) Store() *store.Store { return s.store }

// History returns the bytes of a user on each of the last days, the oldest first, with the
// present one; days on which the user moved none are not there. Users that were removed
// have theirs. The error wraps store.ErrUnavailable if there is no state directory. It may
// be called concurrently.
func (s *Service) History(name string) ([]store.Day, error) {
	if s.store == nil {
		return nil, errNoStore
	}
	return s.store.History(name, 0), nil
}

// errNoStore means that there is no state directory.
var errNoStore = fmt.Errorf("%w: there is no state directory", store.ErrUnavailable)

// unusableError is why the proxy cannot use the users that there would be.
type unusableError struct{ cause error }

func (e *unusableError) Error() string { return e.cause.Error() }

func (e *unusableError) Unwrap() error { return e.cause }

// UpdateUsers replaces the users that were added at run time by what change returns for
// them, and closes the sessions of those that are gone or may not go on. The users are on
// the disk, and in force, when it returns. After an error nothing has changed: it is
// change's, wraps store.ErrUnavailable, is a *users.TakenError, or tells why the proxy
// cannot use the users.
//
// It must not be called before Listen has returned. It may be called concurrently.
func (s *Service) UpdateUsers(change func(list []users.User) ([]users.User, error)) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if s.store == nil {
		return errNoStore
	}
	if s.upgrade.isDone() { // the other process has read the users
		return fmt.Errorf("%w: %w", store.ErrUnavailable, errTakenOver)
	}
	if len(s.limited) > manyUsers {
		defer beThrifty(true)()
		defer s.releaseReload()
	}
	var before, all []users.User
	var leftOut []*users.TakenError
	err := s.store.Update(func(list []users.User) (next []users.User, err error) {
		before = list
		if next, err = change(slices.Clone(list)); err != nil {
			return nil, err
		}
		for i := range next {
			next[i].Source = users.Store
			if err := checkName(next[i].Name); err != nil {
				return nil, err
			}
		}
		if all, leftOut, err = users.Overlay(s.configured, next, s.config.Modes); err != nil {
			return nil, err
		}
		for _, taken := range leftOut {
			switch {
			case slices.ContainsFunc(before, func(u users.User) bool { return u.Equal(taken.User) }):
			case taken.Other == nil:
				return nil, &unusableError{taken}
			default:
				return nil, taken
			}
		}
		if err := s.proxy.CheckUsers(users.Proxies(all)); err != nil {
			return nil, &unusableError{err}
		}
		return next, nil
	})
	if err != nil {
		return err
	}
	s.setLimited(all, len(s.configured), leftOut)
	if err := s.setUsers(); err != nil {
		return err
	}
	for i := range before {
		if s.policy.Forget(before[i].Name) { // it is not there any more
			s.store.Forget(before[i].Name)
		}
	}
	return nil
}
