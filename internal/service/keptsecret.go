package service

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// DefaultDomain is the domain of a generated secret if the operator chooses none, and there
// is no web site. It is reachable from networks everywhere, and blocking it would do damage; it
// supports TLS 1.3 and has much traffic; and a content delivery network serves it
// from so many addresses that a proxy's does not stand out. A domain that resolves
// to the proxy's machine is better than any default, because then name and address
// match.
const DefaultDomain = "www.microsoft.com"

const (
	secretFile = "secret"
	// usedFile has the fingerprint of the secret that a client has used.
	usedFile = "secret.used"
	// maxSecretFile limits what is read of a file, in bytes, and maxKept the number
	// of secrets that are written. Every secret has less than 512 bytes.
	maxSecretFile = 16 << 10
	maxKept       = 16
)

// keptSecret is the secret of the state directory, for a service without configured
// ones: findKeptSecret reads it, keep writes what has changed.
//
// The file has a secret on each line. The first is the one for links. The others
// were first before and are in links that were given out.
type keptSecret struct {
	dir      string
	modes    mtproxy.Modes
	secrets  []mtproxy.Secret // the lines, as they are to be
	before   mtproxy.Secret   // the first line as it is, the zero value if there is no file
	used     bool             // a client has used the first line, as it is
	wasGiven bool             // the first line, as it is to be, was first before
	firstUse chan struct{}    // has a value when a client is authenticated
}

// findKeptSecret returns the secret of the file in the state directory, or if there
// is no file, a generated one. It writes nothing.
//
// A generated secret has the mode of c.Modes that is hardest to detect, and, if that
// is FakeTLS, c.Domain or DefaultDomain. If the file's first secret does not fit
// c.Modes or c.Domain, another one with the same key comes first. It takes the place
// of the former if no client has used that.
//
// A file that cannot be read or contains no secret is an error: replacing it would
// break every link that was given out.
func findKeptSecret(c *Config, log *slog.Logger) (*keptSecret, error) {
	dir, err := stateDirectory(c.State)
	if err != nil {
		return nil, err
	}
	k := &keptSecret{dir: dir, modes: c.Modes, firstUse: make(chan struct{}, 1)}
	kept, err := loadSecrets(filepath.Join(dir, secretFile), log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		k.before, k.used = kept[0], isUsed(dir, kept[0])
	}
	wanted, err := c.secretFor(k.before)
	if err != nil {
		return nil, err
	}
	k.putFirst(wanted, kept)
	return k, nil
}

// putFirst sets the lines: wanted, and those of kept that clients may have.
func (k *keptSecret) putFirst(wanted mtproxy.Secret, kept []mtproxy.Secret) {
	k.secrets = []mtproxy.Secret{wanted}
	for i, secret := range kept {
		switch {
		case secret == wanted:
			k.wasGiven = i > 0
		case i == 0 && !k.used:
		case len(k.secrets) < maxKept:
			k.secrets = append(k.secrets, secret)
		}
	}
}

// secretFor returns kept if it fits the settings, or else a secret that does, with
// the key of kept. If kept is the zero value, the key is new.
func (c *Config) secretFor(kept mtproxy.Secret) (mtproxy.Secret, error) {
	if c.Domain != "" && c.Modes&mtproxy.EE == 0 {
		return kept, configError("domain", "only an ee secret has one, and modes is %v", c.Modes)
	}
	fits := kept.Mode != 0 && kept.Modes()&c.Modes != 0
	if fits && (c.Domain == "" || kept.Mode == mtproxy.FakeTLS && kept.Domain == string(c.Domain)) {
		return kept, nil
	}
	mode, domain := mtproxy.Plain, ""
	switch {
	case c.Modes&mtproxy.EE != 0:
		mode, domain = mtproxy.FakeTLS, cmp.Or(string(c.Domain), c.defaultDomain())
	case c.Modes&mtproxy.DD != 0:
		mode = mtproxy.Padded
	}
	secret, err := mtproxy.NewSecret(nil, mode, domain)
	if err != nil {
		return secret, &ConfigError{"domain", err}
	}
	if kept.Mode != 0 {
		secret.Key = kept.Key
	}
	return secret, nil
}

// users returns the user of the secrets that the modes allow. Of two that differ in
// the mode alone, the user has the one that allows more.
func (k *keptSecret) users() []proxy.User {
	users, _ := usersOf([]NamedSecret{{}}) // its name is that of every first user
	user := &users[0]
	user.Secrets = nil
	for _, secret := range k.secrets {
		if secret.Modes()&k.modes == 0 {
			continue
		}
		same := slices.IndexFunc(user.Secrets, func(other mtproxy.Secret) bool {
			return other.Key == secret.Key && strings.EqualFold(other.Domain, secret.Domain)
		})
		switch {
		case same < 0:
			user.Secrets = append(user.Secrets, secret)
		case secret.Modes() > user.Secrets[same].Modes():
			user.Secrets[same] = secret
		}
	}
	return users
}

// keep writes the file if it is new or changed. If another process has written one
// meanwhile, keep takes its secret.
func (k *keptSecret) keep(c *Config, log *slog.Logger) error {
	switch {
	case k.before.Mode == 0:
		err := k.write(func(path, text string) error { return writeNew(path, text, os.Link) })
		if errors.Is(err, fs.ErrExist) {
			return k.takeOther(c, log)
		}
		if err != nil {
			return errSecretNotKept(err)
		}
		log.Info("made a secret", "kept_in", k.dir, "secret", k.secrets[0].Redacted())
	case k.before != k.secrets[0]:
		if err := k.write(replaceFile); err != nil {
			warnSecretNotKept(log, err)
		}
		k.logChange(log)
		k.before, k.used = k.secrets[0], false
		if k.wasGiven {
			k.markUsed(log)
		}
	}
	return nil
}

// check tells what keep would, as far as it can be known, and writes nothing.
func (k *keptSecret) check(log *slog.Logger) error {
	err := mayMakeFiles(k.dir)
	switch {
	case err == nil:
	case k.before.Mode == 0:
		return errSecretNotKept(err)
	case k.before != k.secrets[0]:
		warnSecretNotKept(log, err)
	}
	return nil
}

func errSecretNotKept(err error) error {
	return configError("state", "the generated secret cannot be kept: %w; choose another directory, or configure a secret", err)
}

func warnSecretNotKept(log *slog.Logger, err error) {
	log.Warn("the secret for these settings cannot be kept: the next run may have another one", "error", err)
}

// write writes the file with a function.
func (k *keptSecret) write(write func(path, text string) error) error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	var text strings.Builder
	for _, secret := range k.secrets {
		text.WriteString(secret.String() + "\n")
	}
	return write(filepath.Join(k.dir, secretFile), text.String())
}

// logChange logs what a change of the first secret means for links.
func (k *keptSecret) logChange(log *slog.Logger) {
	level, links := slog.LevelInfo, "no client has used the one before"
	if k.used && k.before.Modes()&k.modes != 0 {
		links = "links with the one before work as well"
	} else if k.used {
		level, links = slog.LevelWarn, "links with the one before do not work in these modes"
	}
	log.Log(context.Background(), level, "changed the secret", "kept_in", k.dir, "before", k.before.Redacted(), "now", k.secrets[0].Redacted(), "links", links)
}

// takeOther takes the secret that another process has written since findKeptSecret.
func (k *keptSecret) takeOther(c *Config, log *slog.Logger) error {
	other, err := findKeptSecret(c, log)
	if err != nil {
		return err
	}
	other.firstUse = k.firstUse
	*k = *other
	if k.before.Mode == 0 {
		return configError("state", "%s appears and disappears", filepath.Join(k.dir, secretFile))
	}
	return k.keep(c, log)
}

// loadSecrets reads the secrets of a file: one or more.
func loadSecrets(path string, log *slog.Logger) (secrets []mtproxy.Secret, err error) {
	text, err := readSecretFile(path, maxSecretFile, log)
	if errors.Is(err, errTooLong) {
		return nil, unusableSecretFile(path, errTooLong)
	}
	if err != nil {
		return nil, &ConfigError{"state", err}
	}
	for line := range strings.Lines(strings.TrimSpace(string(text))) {
		secret, err := mtproxy.ParseSecret(strings.TrimSpace(line))
		if err != nil {
			return nil, unusableSecretFile(path, err)
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, unusableSecretFile(path, errors.New("no secret"))
	}
	return secrets, nil
}

func unusableSecretFile(path string, err error) error {
	return configError("state",
		"%s: %w; restore the secret, or remove the file to have a new one generated, which breaks all links given out", path, err)
}

// fingerprint identifies a secret in the file of used ones, and does not reveal it.
func fingerprint(secret mtproxy.Secret) string {
	sum := sha256.Sum256([]byte("mtwire used secret\n" + secret.String()))
	return hex.EncodeToString(sum[:])
}

// isUsed reports whether a client has used the secret, as the directory tells.
func isUsed(dir string, secret mtproxy.Secret) bool {
	text, err := os.ReadFile(filepath.Join(dir, usedFile))
	return err == nil && strings.TrimSpace(string(text)) == fingerprint(secret)
}

// markUsed writes to the directory that a client has used the first secret. If that
// fails, the log alone tells it: the secret counts as unused.
func (k *keptSecret) markUsed(log *slog.Logger) {
	if k.used {
		return
	}
	k.used = true
	if err := replaceFile(filepath.Join(k.dir, usedFile), fingerprint(k.secrets[0])+"\n"); err != nil {
		log.Warn("it cannot be kept that the secret is in use: a change of the domain will replace it", "error", err)
	}
}

// authenticated is a hook of the proxy: a client has used a secret. It does not
// block.
func (k *keptSecret) authenticated(proxy.Session) {
	select {
	case k.firstUse <- struct{}{}:
	default: // it is known
	}
}

// watchUse calls markUsed when a client has used a secret. The caller calls stop,
// which waits.
func (k *keptSecret) watchUse(log *slog.Logger) (stop func()) {
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-k.firstUse:
			k.markUsed(log)
		case <-stopping:
		}
	}()
	return func() {
		close(stopping)
		<-stopped
		select {
		case <-k.firstUse: // in the last moment
			k.markUsed(log)
		default:
		}
	}
}
