package service

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/netlist"
	"github.com/mtwire/mtwire/internal/service/store"
	"github.com/mtwire/mtwire/internal/service/users"
)

// Check returns all that is wrong with c: what New would return, and what else would
// not let a proxy run, apart from what other processes do. It changes nothing.
func Check(c Config, log *slog.Logger) (wrong []error) {
	_, wrong = Examine(c, log)
	return wrong
}

// Examine is Check. If nothing is wrong, summary describes what a proxy would do, in a few
// lines.
func Examine(c Config, log *slog.Logger) (summary []string, wrong []error) {
	if wrong = CheckSettings(c, log); len(wrong) > 0 {
		return nil, wrong
	}
	s, err := New(c, log)
	if err != nil {
		return nil, []error{err}
	}
	defer s.Close()
	return s.summary(), nil
}

// CheckSettings returns what is wrong with the settings of c and the files that they name.
// It is for a configuration of which a part could not be decoded: what such parts lead to
// is in wrong as well.
func CheckSettings(c Config, log *slog.Logger) (wrong []error) {
	add := func(errs ...error) {
		for _, err := range errs {
			for _, err := range eachOf(err) {
				if !slices.ContainsFunc(wrong, func(before error) bool { return before.Error() == err.Error() }) {
					wrong = append(wrong, err)
				}
			}
		}
	}
	add(c.checkAll()...)
	_, err := c.proxyConfig()
	add(err)
	_, err = c.upstreamList(log)
	add(err)
	add(c.checkLists()...)
	add(c.checkUsers(log)...)
	_, err = c.openAdminToken(slog.New(slog.DiscardHandler)) // New warns
	add(err, c.checkState(log), c.checkLogFile())
	add(c.checkSockets(log)...)
	add(c.checkWebFiles()...)
	return wrong
}

// eachOf returns the errors of a list one by one, each about the same setting.
func eachOf(err error) []error {
	var setting *ConfigError
	var list *listErrors
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &setting) || !errors.As(setting.Err, &list):
		return []error{err}
	}
	var all []error
	for _, e := range list.all {
		all = append(all, &ConfigError{setting.Setting, e})
	}
	if list.more > 0 {
		all = append(all, configError(setting.Setting, "and %d more errors in this file", list.more))
	}
	return all
}

// checkLists returns all that is wrong with the lists of networks.
func (c *Config) checkLists() (wrong []error) {
	for setting, paths := range map[string][]config.Path{"allow": c.Allow, "block": c.Block} {
		for i, path := range paths {
			_, err := netlist.Load(config.ReadFile, string(path))
			for _, err := range joined(err) {
				wrong = append(wrong, &ConfigError{fmt.Sprintf("%s[%d]", setting, i), err})
			}
		}
	}
	return wrong
}

// joined returns the errors that errors.Join has joined, also of several calls.
func joined(err error) (all []error) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			all = append(all, joined(e)...)
		}
	} else if err != nil {
		all = append(all, err)
	}
	return all
}

// checkUsers returns all that is wrong with the users that are configured.
func (c *Config) checkUsers(log *slog.Logger) (wrong []error) {
	secrets, err := c.secretList(log)
	if err != nil {
		wrong = append(wrong, err)
	}
	named, err := usersOf(secrets)
	if err != nil {
		wrong = append(wrong, err)
	}
	_, more := c.fileUsers(named, log)
	wrong = append(wrong, more...)
	for i := range c.Users {
		limits := limitsOf(&c.Users[i])
		for _, limit := range limits.Wrong() {
			key := fmt.Sprintf("user[%d].%s", i, limit.Limit)
			if !isAbout(more, key) {
				wrong = append(wrong, &ConfigError{key, limit.Err})
			}
		}
	}
	return wrong
}

// isAbout reports whether one of several errors is about a setting.
func isAbout(all []error, setting string) bool {
	return slices.ContainsFunc(all, func(err error) bool {
		var wrong *ConfigError
		return errors.As(err, &wrong) && wrong.Setting == setting
	})
}

// checkState returns an error if the proxy would not start with its state directory. Of what else
// it could not keep there it warns, as the proxy would.
func (c *Config) checkState(log *slog.Logger) error {
	if err := c.keepHandshakes(mayReadDirectory, log); err != nil {
		return err
	}
	if err := c.checkKeptSecret(log); err != nil {
		return err
	}
	c.checkTokenKey(log)
	c.checkCertificates(log)
	if path, err := c.storePath(); err == nil {
		if err := mayMakeFiles(path); err != nil {
			store.WarnNotWritten(log, path, err)
		}
	}
	return nil
}

// checkKeptSecret is checkState for the generated secret, if there are no others.
func (c *Config) checkKeptSecret(log *slog.Logger) error {
	quiet := slog.New(slog.DiscardHandler)
	if secrets, err := c.secretList(quiet); err != nil || len(secrets)+len(c.Users) > 0 {
		return nil
	}
	s := &Service{config: *c, log: quiet}
	if _, err := s.findKeptUsers(len(c.readStored(quiet)) > 0); err != nil || s.kept == nil {
		return err
	}
	return s.kept.check(log)
}

// checkLogFile returns an error if a proxy could not write to its log file.
func (c *Config) checkLogFile() error {
	if c.LogFile == "" {
		return nil
	}
	if err := mayWriteFile(c.LogFile); err != nil {
		return &ConfigError{"log-file", err}
	}
	return nil
}

// MayMakeFile returns an error if this process may not make a file of that directory. It changes
// nothing.
func MayMakeFile(path string) error { return mayMakeIn(filepath.Dir(path)) }

// mayWriteFile returns an error if this process could not write to a file, or make it. It changes
// nothing.
func mayWriteFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return mayMakeIn(filepath.Dir(path))
	case err == nil && info.IsDir():
		return fmt.Errorf("%s is a directory", path)
	case err == nil:
		err = mayWrite(path)
	}
	return err
}

// mayMakeIn returns an error if this process may not make files in a directory, or if that is
// missing.
func mayMakeIn(dir string) error {
	if isMissing(dir) {
		return fmt.Errorf("the directory %s is missing", dir)
	}
	return mayMakeFiles(dir)
}

// checkSockets returns what is wrong with the paths of Unix sockets.
func (c *Config) checkSockets(log *slog.Logger) (wrong []error) {
	check := func(setting string, addresses []ListenAddress) {
		for i, address := range addresses {
			inherited := func(ln net.Listener) bool { return address.isOf(ln.Addr()) }
			if address.Network != "unix" || slices.ContainsFunc(c.Inherited, inherited) {
				continue
			}
			if err := checkSocketPath(address.Address); err != nil {
				wrong = append(wrong, &ConfigError{fmt.Sprintf("%s[%d]", setting, i), err})
			}
		}
	}
	check("listen", c.Listen)
	check("web-listen", c.WebListen)
	if c.TakeoverSocket != "" {
		if err := checkSocketPath(c.TakeoverSocket); err != nil {
			logNoTakeover(log, c.TakeoverSocket, err)
		}
	}
	return append(wrong, c.checkAdminSockets(log)...)
}

// checkSocketPath returns an error if a process could not listen at the path of a Unix socket.
func checkSocketPath(path string) error {
	if err := checkSocketFile(path); err != nil {
		return err
	}
	return mayMakeIn(filepath.Dir(path))
}

// checkSocketFile is checkSocketPath without the directory.
func checkSocketFile(path string) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("%s: the path has %d bytes, and a socket's has at most %d", path, len(path), maxSocketPath)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s: %w", path, errNoSocket)
	}
	return nil
}

// isMissing reports whether there is nothing at a path.
func isMissing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// mayMakeDirectory returns an error if os.MkdirAll would. It changes nothing.
func mayMakeDirectory(dir string) error {
	info, err := os.Stat(dir)
	if parent := filepath.Dir(dir); err != nil && parent != dir {
		switch above := mayMakeDirectory(parent); {
		case above != nil || !errors.Is(err, fs.ErrNotExist):
			return cmp.Or(above, err)
		case isMissing(parent): // it is made as well
			return nil
		}
		return mayWrite(parent)
	}
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", dir)
	}
	return nil
}

// mayReadDirectory is mayMakeDirectory for one whose files are read.
func mayReadDirectory(dir string) error {
	err := mayMakeDirectory(dir)
	if err != nil || isMissing(dir) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return d.Close()
}

// mayMakeFiles returns an error if this process could not make a directory, if it is missing, and
// files in it.
func mayMakeFiles(dir string) error {
	err := mayMakeDirectory(dir)
	if err == nil && !isMissing(dir) {
		err = mayWrite(dir)
	}
	return err
}

// summary describes a service that does not listen yet.
func (s *Service) summary() (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	c := &s.config
	add("listen: %s", list(c.Listen))
	if len(c.Inherited) > 0 {
		add("inherited listeners: %d", len(c.Inherited))
	}
	disabled, added := 0, 0
	for i := range s.limited {
		if u := &s.limited[i]; u.Disabled {
			disabled++
		}
		if s.limited[i].Source == users.Store {
			added++
		}
	}
	text := fmt.Sprintf("users: %d", len(s.limited))
	if s.kept != nil {
		text += ", with the one of the state directory"
	}
	if added > 0 {
		text += fmt.Sprintf(", of which %d were added at run time", added)
	}
	if disabled > 0 {
		text += fmt.Sprintf(", %d disabled", disabled)
	}
	add("%s", text)
	if len(s.leftOut) > 0 {
		add("users of the store that are left out: %d", len(s.leftOut))
	}
	var upstreams []string
	for _, u := range s.proxy.Upstreams() {
		upstreams = append(upstreams, u.Upstream)
	}
	add("upstreams: %s", strings.Join(upstreams, ", "))
	if counts := s.Access(); counts.Allow >= 0 {
		add("networks: %d allowed, %d blocked", counts.Allow, counts.Block)
	} else if counts.Block > 0 {
		add("networks: %d blocked", counts.Block)
	}
	if len(c.Admin) > 0 {
		add("admin: %s", list(c.Admin))
	}
	if dir, err := stateDirectory(c.State); err == nil {
		add("state: %s", dir)
	}
	if c.LogFile != "" {
		add("log: %s", c.LogFile)
	}
	return lines
}

// list returns the texts of values.
func list[T fmt.Stringer](values []T) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = value.String()
	}
	return strings.Join(texts, ", ")
}
