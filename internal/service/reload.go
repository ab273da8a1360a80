package service

import (
	"errors"
	"os"

	"github.com/mtwire/mtwire/internal/service/config"
)

var (
	errNoneLeft    = errors.New("no secret is left")
	errOtherSource = errors.New("configured users in place of the generated secret, or the reverse, need a restart")
	errOtherDomain = errors.New("clients of secrets without a domain would have another one, which needs a restart")
)

// Reload reads the files of the configuration again, those with secrets and with lists of
// networks, and replaces the users and the lists: see Reconfigure. It reports false if
// there are no such files, so that nothing can change.
//
// It must not be called before Listen has returned. It may be called concurrently.
func (s *Service) Reload() (reloaded bool, err error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if !s.config.filesMayChange() {
		return false, nil
	}
	defer func() { s.CountReload(err) }()
	return true, s.replace(s.config)
}

// CountReload counts a reload for the metrics, which has failed if err is not nil. Reload
// and Reconfigure do so themselves: it is for a configuration that cannot be read.
func (s *Service) CountReload(err error) {
	if s.admin != nil {
		s.admin.metrics.Reloaded(err)
	}
}

// ReloadWith makes the admin listener call reload in place of Reload: a configuration
// file is the caller's to read. It must be called before Listen.
func (s *Service) ReloadWith(reload func() (reloaded bool, err error)) { s.reload = reload }

// reloadForAdmin is what the admin listener calls.
func (s *Service) reloadForAdmin() (reloaded bool, err error) {
	if s.reload != nil {
		return s.reload()
	}
	return s.Reload()
}

// Reconfigure replaces the users and the lists of networks by those of next, and reads
// their files again. It closes the sessions of users that are gone or may not go on (see
// users.Policy.Run), those whose secret their user does not have any more, and no
// others: users with new limits keep theirs. After an error nothing has changed. The other settings stay as they are:
// restart has the keys of those that are different in next.
//
// It must not be called before Listen has returned. It may be called concurrently.
func (s *Service) Reconfigure(next Config) (restart []string, err error) {
	defer func() { s.CountReload(err) }()
	if err := next.check(); err != nil {
		return nil, err
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	applied := s.config
	applied.Secrets, applied.SecretsFile, applied.Users = next.Secrets, next.SecretsFile, next.Users
	applied.Allow, applied.Block = next.Allow, next.Block
	if err := s.replace(applied); err != nil {
		return nil, err
	}
	return config.Different(applied, next), nil
}

// replace replaces the users and the lists by those of next, which differs from s.config
// in nothing else. Under reloading.
func (s *Service) replace(next Config) (err error) {
	allow, block, err := next.loadLists()
	if err != nil {
		return err
	}
	found, err := s.findAgain(next)
	if err != nil {
		return err
	}
	s.config.Secrets, s.config.SecretsFile, s.config.Users = next.Secrets, next.SecretsFile, next.Users
	s.config.Allow, s.config.Block = next.Allow, next.Block
	s.configured, s.limited, s.leftOut = found.configured, found.limited, found.leftOut
	if err := s.setUsers(); err != nil { // they were checked
		return err
	}
	s.access.Set(allow, block)
	s.warnOfLeftOut()
	s.log.Info("read the secrets again", "users", len(found.users))
	return nil
}

// findAgain returns a service that has the users of next, which the proxy can use.
func (s *Service) findAgain(next Config) (*Service, error) {
	found := &Service{config: next, log: s.log}
	if err := found.findUsers(); err != nil {
		return nil, err
	}
	if found.kept != nil && found.kept.before.Mode == 0 { // it would be a generated one
		return nil, errNoneLeft
	}
	if (found.kept == nil) != (s.kept == nil) && len(next.Users)+len(next.Secrets)+len(s.config.Users)+len(s.config.Secrets) > 0 {
		return nil, errOtherSource
	}
	domain, err := found.findDomain()
	if err != nil {
		return nil, err
	}
	if domain != s.domain {
		return nil, errOtherDomain
	}
	stored := found.limited[len(found.configured):]
	if s.store != nil {
		stored = s.store.Users()
	}
	if err := found.limit(found.configured, stored); err != nil {
		return nil, err
	}
	return found, s.proxy.CheckUsers(found.users)
}

// filesMayChange reports whether secrets or lists of networks are read from files.
func (c *Config) filesMayChange() bool {
	for i := range c.Users {
		if c.Users[i].SecretFile != "" {
			return true
		}
	}
	return len(c.Allow)+len(c.Block) > 0 || c.secretsMayChange()
}

// secretsMayChange reports whether some secrets are read from a file.
func (c *Config) secretsMayChange() bool {
	return c.SecretsFile != "" || len(c.Secrets)+len(c.Users) == 0 && os.Getenv(secretsVariable) == ""
}
