package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/users"
)

var (
	errNoneLeft    = errors.New("no secret is left")
	errOtherSource = errors.New("configured users in place of the generated secret, or the reverse, need a restart")
)

// Reload reads the files of the configuration again, those with secrets, upstreams and
// lists of networks, and puts them in force: see Reconfigure. It reports false if
// there are no such files, so that nothing can change. After ReloadWith it calls that
// function.
//
// It must not be called before Listen has returned. It may be called concurrently.
func (s *Service) Reload() (reloaded bool, err error) {
	return s.reloadAll(func() error { return nil })
}

// reloadIf is Reload if permitted returns nil, which it calls under reloading.
func (s *Service) reloadIf(permitted func() error) (reloaded bool, err error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if err := permitted(); err != nil {
		return false, err
	}
	if !s.config.filesMayChange() {
		return false, nil
	}
	defer func() { s.CountReload(nil, err) }()
	return true, s.replace(s.config)
}

// CountReload notes the result of a reload, for metrics and the admin listener: it has
// failed if err is not nil, and otherwise restart has the keys that need a restart. Reload
// does so itself. The caller of Reconfigure calls it, before another configuration can be
// put in force, with an error that names positions as the log does.
func (s *Service) CountReload(restart []string, err error) {
	s.reloads.note(restart, err)
	if err != nil {
		s.notifyFailure("reload", err)
	} else {
		s.notifyServing()
	}
	if s.admin != nil {
		s.admin.metrics.Reloaded(err)
	}
}

// ReloadWith makes the admin listener call reload in place of Reload: a configuration
// file is the caller's to read. If permitted returns an error, reload returns that and
// changes nothing; no other reload may be between the two. It must be called before Listen.
func (s *Service) ReloadWith(reload func(permitted func() error) (reloaded bool, err error)) {
	s.reload = reload
}

// releaseConfig drops the users of the configuration file, as they were decoded, if it is
// the caller's to read the file again: limited has them.
func (s *Service) releaseConfig() {
	if s.reload != nil {
		s.config.Users = nil
	}
}

// reloadForAdmin is admin.Config.Reload. A reload that has waited for the end of an upgrade is one
// of a process that drains.
func (s *Service) reloadForAdmin(permitted func() error) (reloaded bool, err error) {
	if reloaded, err = s.reloadAll(permitted); err == nil && s.upgrade.isDone() {
		err = fmt.Errorf("%w: %w", admin.ErrUnavailable, errTakenOver)
	}
	return reloaded, err
}

func (s *Service) reloadAll(permitted func() error) (reloaded bool, err error) {
	if s.reload != nil {
		return s.reload(permitted)
	}
	return s.reloadIf(permitted)
}

// Reconfigure puts next in force, and reads its files again: users, lists of networks,
// upstreams, data centres, limits, fronting hosts, listeners and the rest. Connections go
// on: see proxy.Change.Apply for those to data centres and fronting hosts, and those that
// came through a listener which is gone stay open. It closes the sessions of users that
// are gone or may not go on (see users.Policy.Run), those whose secret their user does not
// have any more, and no others: users with new limits keep theirs. After an error nothing
// has changed.
//
// Some settings need a restart, and stay as they are: restart has the keys of those that
// are different in next.
//
// The caller calls CountReload with the result. Reconfigure must not be called before
// Listen has returned. It may be called concurrently.
func (s *Service) Reconfigure(next Config) (restart []string, err error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	applied := next.withFixed(&s.config)
	next.Inherited = applied.Inherited
	if err := next.check(); err != nil {
		return nil, err
	}
	if err := s.replace(applied); err != nil {
		return nil, err
	}
	return config.Different(applied, next), nil
}

// replace puts next in force, which has the settings of s.config that take a restart.
// Under reloading.
func (s *Service) replace(next Config) error {
	defer beThrifty(next.hasManyUsers())()
	change, err := s.prepareSettings(context.Background(), next)
	if err != nil {
		return err
	}
	change.commit()
	s.log.Info("read the configuration again", "users", len(s.limited))
	return nil
}

// findAgain returns a service that has the users of next, and their domain.
func (s *Service) findAgain(next Config) (*Service, error) {
	found := &Service{config: next, log: s.log}
	if err := found.findUsers(); err != nil {
		return nil, err
	}
	if found.kept != nil && found.kept.before.Mode == 0 { // it would be a generated one
		return nil, errNoneLeft
	}
	if (found.kept == nil) != (s.kept == nil) && len(next.Users)+len(next.Secrets)+s.fromFile+len(s.config.Secrets) > 0 {
		return nil, errOtherSource
	}
	if _, err := found.findDomain(); err != nil {
		return nil, err
	}
	stored := found.limited[len(found.configured):]
	if s.store != nil {
		stored = s.store.Users()
	}
	if err := found.limit(found.configured, stored); err != nil {
		return nil, err
	}
	if sameUsers(found.limited, s.limited) { // those before stay where they are in memory
		found.setLimited(s.limited, len(found.configured), found.leftOut)
	}
	return found, nil
}

// sameUsers reports whether two lists of users are the same in everything.
func sameUsers(a, b []users.User) bool {
	return slices.EqualFunc(a, b, func(a, b users.User) bool { return a.Equal(&b) })
}

// Files returns the paths of the files that c names and Reconfigure reads: secrets,
// upstreams and lists of networks.
func (c *Config) Files() (paths []string) {
	add := func(path string) {
		if path != "" {
			paths = append(paths, path)
		}
	}
	add(c.SecretsFile)
	add(c.UpstreamsFile)
	for _, path := range slices.Concat(c.Allow, c.Block) {
		add(string(path))
	}
	for i := range c.Users {
		add(c.Users[i].SecretFile)
	}
	return paths
}

// filesMayChange reports whether secrets, upstreams or lists of networks are read from files.
func (c *Config) filesMayChange() bool {
	for i := range c.Users {
		if c.Users[i].SecretFile != "" {
			return true
		}
	}
	return len(c.Allow)+len(c.Block) > 0 || c.UpstreamsFile != "" || c.secretsMayChange()
}

// secretsMayChange reports whether some secrets are read from a file.
func (c *Config) secretsMayChange() bool {
	return c.SecretsFile != "" || len(c.Secrets)+len(c.Users) == 0 && os.Getenv(secretsVariable) == ""
}
