package service

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/netlist"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// LoadFile reads a configuration file, whose keys replace the defaults. Paths in it are
// relative to its directory. The error is a *config.Errors if the file can be read: then
// the configuration has the values that could be decoded. The document tells the
// positions of errors that are found later: see NameError.
func LoadFile(path string) (Config, *config.Document, error) {
	c := Default()
	data, err := config.ReadFile(path)
	if err != nil {
		return c, nil, err
	}
	defer beThrifty(len(data) > largeFile)()
	document, err := config.Decode(path, data, &c)
	dir := filepath.Dir(path)
	if whole, err := filepath.Abs(dir); err == nil {
		dir = whole
	}
	resolvePaths(reflect.ValueOf(&c).Elem(), dir)
	return c, document, err
}

// WarnOfReaders warns if other users of the machine may read a configuration file that
// has credentials in it.
func WarnOfReaders(path string, c Config, log *slog.Logger) {
	if slices.ContainsFunc(c.Secrets, NamedSecret.HasCredentials) || slices.ContainsFunc(c.Upstreams, proxy.Upstream.HasCredentials) ||
		slices.ContainsFunc(c.Users, func(u config.User) bool {
			return u.Secret.HasCredentials() || slices.ContainsFunc(u.Secrets, config.Secret.HasCredentials)
		}) {
		if info, err := os.Stat(path); err == nil {
			warnOfReaders(path, info, log)
		}
	}
}

// resolvePaths makes relative paths those in dir: the strings, and slices of them, of
// fields with the tag path, also of the structs in slices.
func resolvePaths(v reflect.Value, dir string) {
	resolve := func(path reflect.Value) {
		if text := path.String(); text != "" && !filepath.IsAbs(text) && !strings.Contains(text, "://") {
			path.SetString(filepath.Join(dir, text))
		}
	}
	for i := range v.NumField() {
		field, tag := v.Field(i), v.Type().Field(i).Tag
		_, isPath := tag.Lookup("path")
		switch {
		case isPath && field.Kind() == reflect.String:
			resolve(field)
		case isPath:
			for j := range field.Len() {
				resolve(field.Index(j))
			}
		case field.Kind() == reflect.Slice && field.Type().Elem() == reflect.TypeFor[config.User]():
			for j := range field.Len() {
				resolvePaths(field.Index(j), dir)
			}
		}
	}
}

// Key returns the key of a setting in a configuration file.
func Key(setting string) string { return strings.ReplaceAll(setting, "-", "_") }

// NameError returns err with its position in document, if it is a *ConfigError about a
// key that the document has.
func NameError(err error, document *config.Document) error {
	var setting *ConfigError
	if document == nil || !errors.As(err, &setting) {
		return err
	}
	key := Key(setting.Setting)
	if top, _, _ := strings.Cut(key, "["); !document.Has(top) {
		return err
	}
	return document.Error(key, setting.Err)
}

// fileUsers returns the users of the configuration file, behind those of secrets, and
// all that is wrong with them.
func (c *Config) fileUsers(before []proxy.User, log *slog.Logger) (users []proxy.User, wrong []error) {
	size := len(before) + len(c.Users)
	names, owners := make(map[string]string, size), make(map[mtproxy.Secret]string, size)
	for _, user := range before {
		names[user.Name] = "a secret"
		for _, secret := range user.Secrets {
			owners[withoutMode(secret)] = user.Name
		}
	}
	users = slices.Grow(before, len(c.Users))
	for i := range c.Users {
		user := &c.Users[i]
		path := fmt.Sprintf("user[%d]", i)
		fail := func(key, format string, args ...any) {
			wrong = append(wrong, configError(path+"."+key, format, args...))
		}
		for _, err := range user.Check() {
			fail(err.Key, "%w", err.Err)
		}
		if other, taken := names[user.Name]; taken && user.Name != "" {
			fail("name", "%s has this name as well", other)
		}
		names[user.Name] = path
		secrets, err := userSecrets(user, log)
		if err != nil {
			fail(err.Key, "%w", err.Err)
		}
		for _, secret := range secrets {
			if other, taken := owners[withoutMode(secret)]; taken {
				fail("secret", "the user %s has the same secret", other)
			}
			owners[withoutMode(secret)] = user.Name
			if secret.Modes()&c.Modes == 0 {
				fail("secret", "no client can use it: it allows %v, and modes is %v", secret.Modes(), c.Modes)
			}
		}
		users = append(users, proxy.User{Name: user.Name, Secrets: secrets})
	}
	return users, wrong
}

// userSecrets returns the secrets of a user, wherever they are.
func userSecrets(user *config.User, log *slog.Logger) (secrets []mtproxy.Secret, wrong *config.KeyError) {
	all := user.Secrets
	if user.Secret.Mode != 0 {
		all = append([]config.Secret{user.Secret}, all...)
	}
	if path := user.SecretFile; path != "" {
		more, err := parseListFile[config.Secret](path, log)
		if err != nil {
			return nil, &config.KeyError{Key: "secret_file", Err: err}
		}
		all = append(all, more...)
	}
	if name := user.SecretEnv; name != "" {
		more, err := environmentSecrets(name)
		if err != nil {
			return nil, &config.KeyError{Key: "secret_env", Err: err}
		}
		all = append(all, more...)
	}
	for _, secret := range all {
		secrets = append(secrets, secret.Secret)
	}
	return secrets, nil
}

// environmentSecrets returns the secrets of an environment variable.
func environmentSecrets(name string) ([]config.Secret, error) {
	text := os.Getenv(name)
	if text == "" {
		return nil, fmt.Errorf("the environment has no variable %s", name)
	}
	secrets, err := parseList[config.Secret](text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return secrets, nil
}

// withoutMode returns what tells the clients of a secret from those of others.
func withoutMode(secret mtproxy.Secret) mtproxy.Secret {
	return mtproxy.Secret{Key: secret.Key, Domain: strings.ToLower(secret.Domain)}
}

// loadLists reads the lists of networks: allow is nil if there is none.
func (c *Config) loadLists() (allow, block *netlist.List, err error) {
	var failed []error
	if len(c.Allow) > 0 {
		if allow, err = loadList(c.Allow); err != nil {
			failed = append(failed, &ConfigError{"allow", err})
		}
	}
	if block, err = loadList(c.Block); err != nil {
		failed = append(failed, &ConfigError{"block", err})
	}
	return allow, block, errors.Join(failed...)
}

func loadList(paths []config.Path) (*netlist.List, error) {
	var all []string
	for _, path := range paths {
		all = append(all, string(path))
	}
	return netlist.Load(config.ReadFile, all...)
}

// InForce returns c with the secrets and upstreams that the environment or systemd
// provides, and where they are from, by key.
func InForce(c Config, log *slog.Logger) (inForce Config, sources map[string]string, err error) {
	sources = make(map[string]string)
	source := func(variable string) string {
		if os.Getenv(variable) != "" {
			return "$" + variable
		}
		return "systemd's credential"
	}
	inForce = c
	if c.SecretsFile == "" && len(c.Secrets)+len(c.Users) == 0 {
		if inForce.Secrets, err = c.secretList(log); err != nil {
			return c, nil, err
		}
		if len(inForce.Secrets) > 0 {
			sources["secret"] = source(secretsVariable)
		}
	}
	if c.UpstreamsFile == "" && len(c.Upstreams) == 0 {
		if inForce.Upstreams, err = c.upstreamList(log); err != nil {
			return c, nil, err
		}
		if len(inForce.Upstreams) > 0 {
			sources["upstream"] = source(upstreamsVariable)
		}
	}
	return inForce, sources, nil
}
