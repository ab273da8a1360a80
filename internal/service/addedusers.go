package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/store"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// usersFile has the users that AddUser has added to those of the state directory:
// NAME=SECRET on each line.
const usersFile = "users"

// checkName returns an error if a user may not be called name.
func checkName(name string) error { return config.CheckName(name) }

// addedUsers returns the users of usersFile in the state directory.
func (c *Config) addedUsers(log *slog.Logger) (added []NamedSecret, path string, err error) {
	dir, err := stateDirectory(c.State)
	if err != nil {
		return nil, "", err
	}
	path = filepath.Join(dir, usersFile)
	added, err = parseListFile[NamedSecret](path, log)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, errEmptyList):
		return nil, path, nil
	case err != nil:
		return nil, path, &ConfigError{"state", err}
	}
	return added, path, nil
}

// findKeptUsers returns the users of the state directory: the first run's, and those that
// were added. With the latter, and with others, there may be no first run's.
func (s *Service) findKeptUsers(others bool) (list []proxy.User, err error) {
	if s.added, _, err = s.config.addedUsers(s.log); err != nil {
		return nil, err
	}
	if s.kept, err = findKeptSecret(&s.config, s.log); err != nil {
		return nil, err
	}
	if s.kept.before.Mode == 0 && (others || len(s.added) > 0) {
		s.kept = nil
	}
	return s.keptUsers()
}

// keptUsers returns the user of s.kept, unless that is nil, and those of s.added.
func (s *Service) keptUsers() ([]proxy.User, error) {
	if s.kept == nil {
		return usersOf(s.added)
	}
	list, err := usersOf(append([]NamedSecret{{}}, s.added...))
	if err != nil {
		return nil, err
	}
	list[0].Secrets = s.kept.users()[0].Secrets
	return list, nil
}

// whereIsUser is admin.Config.Where. Under reloading.
func (s *Service) whereIsUser(name string) string {
	if s.fromFile > 0 || s.kept == nil && len(s.added) == 0 {
		return ""
	}
	dir, err := stateDirectory(s.config.State)
	if err != nil {
		return ""
	}
	if s.kept != nil && len(s.configured) > 0 && s.configured[0].Name == name {
		return fmt.Sprintf("the user has the generated secret: to end it, stop the proxy, remove %s, and start the proxy, which makes another one if it has no other users", filepath.Join(dir, secretFile))
	}
	if slices.ContainsFunc(s.configured, func(u users.User) bool { return u.Name == name }) {
		return fmt.Sprintf("the user is one of mtwire secret new: change or remove its line in %s, and send SIGHUP to the proxy", filepath.Join(dir, usersFile))
	}
	return ""
}

// AddUser adds a user to those of the state directory, with a fresh secret, and
// returns the user and the file. The secret is like that of a first run with config;
// without config.Domain its domain is that of the first user. A service that runs
// does not have the user before Service.Reload.
func AddUser(config Config, name string, log *slog.Logger) (added NamedSecret, path string, err error) {
	if err := checkName(name); err != nil {
		return added, "", err
	}
	s := &Service{config: config, log: log}
	list, err := s.findKeptUsers(false)
	var configured []users.User
	if err == nil {
		configured, err = config.limited(list)
	}
	if err == nil {
		err = s.limit(configured, config.readStored(log))
	}
	if err != nil {
		return added, "", err
	}
	first := s.kept != nil && s.kept.before.Mode != 0
	for i, user := range s.limited {
		if user.Name == name && (i > 0 || first || s.kept == nil) {
			return added, "", fmt.Errorf("there is a user %q already", name)
		}
		if domain := user.Secrets[0].Domain; i == 0 && config.Domain == "" && config.Modes&mtproxy.EE != 0 {
			config.Domain = Domain(domain)
		}
	}
	added.Name = name
	if added.Secret, err = NewSecret(config); err != nil {
		return added, "", err
	}
	_, path, _ = config.addedUsers(log)
	if err := appendLine(path, name+"="+added.Secret.String()); err != nil {
		return added, "", &ConfigError{"state", err}
	}
	return added, path, nil
}

// NewSecret returns a fresh secret like that of a first run with config. It is not
// kept.
func NewSecret(config Config) (mtproxy.Secret, error) { return config.secretFor(mtproxy.Secret{}) }

// appendLine appends a line to a file that only its owner can read, and makes the file
// if there is none. It makes one write, so that no line of another process is lost. What a
// disk without room has taken of it is removed: with a part of a line, no proxy would start.
func appendLine(path, line string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := store.OpenFile(path, os.O_RDWR|os.O_APPEND)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			line = "\n" + line
		}
	}
	if err := store.SyncDirectory(filepath.Dir(path)); err != nil { // the file may be new
		return err
	}
	return appendText(f, info.Size(), line+"\n")
}

// appendText appends text to a file of size bytes, on the disk. After an error nothing is left of it:
// some file systems tell that there is no room when the file is synced.
func appendText(f interface {
	io.StringWriter
	Truncate(size int64) error
	Sync() error
}, size int64, text string) error {
	n, err := f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err != nil && n > 0 {
		err = errors.Join(err, f.Truncate(size))
	}
	return err
}

// errNoSecret means that there is no secret to show.
var errNoSecret = errors.New("there is no secret yet: the first run of mtwire proxy makes one, and so does mtwire secret new NAME")

// withoutProxy returns a service with the users of config, and without a proxy.
func withoutProxy(config Config, log *slog.Logger) (*Service, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	s := &Service{config: config, log: log}
	if err := s.findUsers(); err != nil {
		return nil, err
	}
	if s.kept != nil && s.kept.before.Mode == 0 {
		return nil, errNoSecret
	}
	_, err := s.findDomain()
	return s, err
}

// checkThere returns an error if there is no user of a name. "" stands for all users.
func (s *Service) checkThere(name string) error {
	names := make([]string, 0, len(s.limited))
	for i := range s.limited {
		if name == "" || s.limited[i].Name == name {
			return nil
		}
		names = append(names, s.limited[i].Name)
	}
	if near := config.Nearest(name, names); near != "" {
		return fmt.Errorf("no user is called %q: did you mean %s?", name, near)
	}
	return fmt.Errorf("no user is called %q: there are %s", name, someOf(names))
}

// Secrets returns the secrets of a user of config, or those of all users if the name is "",
// as a proxy would have them, and a note for each reason why some of the users are not
// served. Without configured ones they are those of the state directory, which must have
// one.
func Secrets(config Config, name string, log *slog.Logger) (secrets []NamedSecret, notes []string, err error) {
	s, err := withoutProxy(config, log)
	if err == nil {
		err = s.checkThere(name)
	}
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for user, secret := range s.linkedSecrets(name) {
		secrets, names = append(secrets, NamedSecret{user, secret}), append(names, user)
	}
	return secrets, noteStopped(s.policyWithoutProxy(), names), nil
}

// Links returns the links and notes that a proxy with config would have for a user, or for
// all users if the name is "", and does not listen. See Secrets and Service.Links.
func Links(ctx context.Context, config Config, name string, log *slog.Logger) (links []Link, notes []string, err error) {
	s, err := withoutProxy(config, log)
	if err == nil {
		err = s.checkThere(name)
	}
	if err != nil {
		return nil, nil, err
	}
	endpoints, err := config.endpoints()
	if err != nil {
		return nil, nil, err
	}
	m := thisMachine()
	r := m.find(ctx, config.Public, endpoints, s.domains(name))
	links = s.linksTo(r, name)
	notes = append(r.notes, s.webNotes(ctx, &config, m, r)...)
	return links, append(notes, noteStopped(s.policyWithoutProxy(), namesOfLinks(links))...), nil
}

// endpoints returns the TCP addresses to listen on.
func (c *Config) endpoints() (endpoints []endpoint, err error) {
	for _, a := range c.Listen {
		if a.Network == "unix" {
			continue
		}
		address, err := net.ResolveTCPAddr(a.Network, a.Address)
		if err != nil {
			return nil, configError("listen", "%v: %w", a, err)
		}
		e := endpoint{a.Network, address.AddrPort().Addr().Unmap(), uint16(address.Port)}
		if !e.ip.IsValid() {
			e.ip = netip.IPv6Unspecified()
		}
		if e.port == 0 && c.Public.Port == 0 {
			return nil, configError("listen", "%v: the port is not known before a proxy listens: set it here or in --public", a)
		}
		endpoints = append(endpoints, e)
	}
	return endpoints, nil
}
