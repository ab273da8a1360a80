package service

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"

	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/mtwire/mtwire/internal/service/store"
)

// Stopped is the users of a proxy that does not run: those of its configuration, and those
// of its store, which it keeps other processes from. Its API is that of a proxy that runs.
type Stopped struct {
	service *Service
	client  *admin.Client
}

// ErrRuns means that a process has the store, so that its users are that one's to change.
var ErrRuns = errors.New("a proxy runs with the state directory")

// OpenStopped opens the store of a proxy with config. The caller calls Close. The error
// wraps ErrRuns if a process has the store, or could have it.
func OpenStopped(config Config, log *slog.Logger) (*Stopped, error) {
	if !store.Locks {
		return nil, fmt.Errorf("%w, or this system does not let that be known: it must run, with --admin unix", ErrRuns)
	}
	config.Admin = []AdminAddress{{Network: adminOff}}
	config.Allow, config.Block = nil, nil
	s, err := New(config, log)
	if err != nil {
		return nil, err
	}
	if s.kept != nil && s.kept.before.Mode == 0 { // it would be a generated one
		s.kept, s.configured = nil, nil
	}
	if s.openStore(); s.store == nil {
		return nil, errNoStore
	}
	if err := s.store.Status().Err; err != nil {
		s.Close()
		if errors.Is(err, store.ErrLocked) {
			err = fmt.Errorf("%w %s", ErrRuns, filepath.Dir(s.store.Status().Directory))
		}
		return nil, err
	}
	s.store.Begin(s.policy)
	if err := s.limit(s.configured, s.store.Users()); err != nil {
		s.Close()
		return nil, err
	}
	s.warnOfLeftOut()
	s.policy.Set(s.limited)
	return &Stopped{s, admin.LocalClient(s.stoppedAdmin())}, nil
}

// errStopped is the error of what only a proxy that runs can do.
var errStopped = errors.New("the proxy does not run")

// stoppedAdmin returns the API of a service whose store is open, and that does not run.
func (s *Service) stoppedAdmin() *admin.Server {
	return admin.New(admin.Config{
		Metrics:       http.NotFoundHandler(),
		Ready:         func() error { return errStopped },
		Log:           s.log,
		Version:       s.config.Version,
		Proxy:         s.proxy,
		Reload:        func(func() error) (bool, error) { return false, errStopped },
		Configuration: s.reloads.document,
		Lists:         func() admin.Lists { return admin.Lists{Allow: -1} },
		Store:         s.storeForAdmin,
		Users:         s.policy,
		UpdateUsers:   s.updateForAdmin,
		Where:         s.whereIsUser,
		History:       s.historyForAdmin,
		Links:         s.linksOf,
		NewSecret:     s.newSecret,
	})
}

// Client returns a client of the API. Only what is about users tells something.
func (s *Stopped) Client() *admin.Client { return s.client }

// Directory returns the directory of the store.
func (s *Stopped) Directory() string { return s.service.store.Status().Directory }

// Close writes what has changed, and leaves the store to other processes.
func (s *Stopped) Close() error {
	err := s.service.store.Close()
	s.service.Close()
	return err
}
