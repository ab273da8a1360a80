package service

import (
	"errors"
	"os"
)

var (
	errNoneLeft    = errors.New("no secret is left")
	errOtherDomain = errors.New("clients of secrets without a domain would have another one, which needs a restart")
)

// Reload reads the secrets again, of the file, of systemd's credential or of the state
// directory, and replaces the users. It closes the sessions of users that are gone or
// changed, and no others. After an error nothing has changed. It reports false if all
// secrets are those of flags or of the environment, which do not change. All other
// settings stay as they are.
//
// It must not be called before Listen has returned. It may be called concurrently.
func (s *Service) Reload() (reloaded bool, err error) {
	if !s.config.secretsMayChange() {
		return false, nil
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	next := &Service{config: s.config, log: s.log}
	if err := next.findUsers(); err != nil {
		return false, err
	}
	if next.kept != nil && next.kept.before.Mode == 0 { // it would be a generated one
		return false, errNoneLeft
	}
	domain, err := next.findDomain()
	if err == nil && domain != s.domain {
		err = errOtherDomain
	}
	if err != nil {
		return false, err
	}
	stored := next.limited[len(next.configured):]
	if s.store != nil {
		stored = s.store.Users()
	}
	if err := next.limit(next.configured, stored); err != nil {
		return false, err
	}
	if err := s.proxy.CheckUsers(next.users); err != nil {
		return false, err
	}
	s.configured, s.limited = next.configured, next.limited
	if err := s.setUsers(); err != nil {
		return false, err
	}
	s.log.Info("read the secrets again", "users", len(next.users))
	return true, nil
}

// secretsMayChange reports whether some secrets are read from a file.
func (c *Config) secretsMayChange() bool {
	return c.SecretsFile != "" || len(c.Secrets) == 0 && os.Getenv(secretsVariable) == ""
}
