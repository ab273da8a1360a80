package service

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/mtwire/mtwire/mtproxy"
)

// DefaultDomain is the domain of a generated secret if the operator chooses none.
// It is reachable from networks everywhere, and blocking it would do damage; it
// supports TLS 1.3 and has much traffic; and a content delivery network serves it
// from so many addresses that a proxy's does not stand out. A domain that resolves
// to the proxy's machine is better than any default, because then name and address
// match.
const DefaultDomain = "www.microsoft.com"

const (
	secretFile = "secret"
	// maxSecretFile limits what is read of the file, in bytes. Every secret is
	// shorter.
	maxSecretFile = 4096
)

// stateDirectory returns the directory for state that outlives a run: the
// configured one, or else the one that systemd made for the service, or else the
// user's.
//
// Specifications:
// https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#RuntimeDirectory=
// https://specifications.freedesktop.org/basedir-spec/latest/#variables
func stateDirectory(configured string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	// The variable may list several directories. The first is ours.
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" {
		return dir, nil
	}
	// Relative paths are to be ignored.
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "mtwire"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", configError("state", "no directory: this user has no home directory; set one")
	}
	return filepath.Join(home, ".local", "state", "mtwire"), nil
}

// loadOrGenerateSecret returns the secret of the file in dir, and whether it is
// new. If there is no file, it generates a FakeTLS secret with the domain, or with
// DefaultDomain if domain is "", and writes the file. If several processes do so
// concurrently, one writes the file and all return its secret.
//
// If the file's secret has another domain than the given one, the result has the
// file's key and the given domain. Links with the file's domain do not work
// then, which log is warned of. The file does not change, so a run without a
// domain undoes this.
//
// A file that cannot be read or contains no secret is an error: replacing it would
// break every link that was given out.
func loadOrGenerateSecret(dir, domain string, log *slog.Logger) (secret mtproxy.Secret, generated bool, err error) {
	path := filepath.Join(dir, secretFile)
	secret, err = loadSecret(path, log)
	if errors.Is(err, fs.ErrNotExist) {
		if secret, err = generateSecret(dir, domain); err == nil {
			return secret, true, nil
		}
		if errors.Is(err, fs.ErrExist) { // another process was faster
			secret, err = loadSecret(path, log)
		}
	}
	if err != nil {
		return mtproxy.Secret{}, false, err
	}
	secret, err = withDomain(secret, domain, log)
	return secret, false, err
}

// loadSecret reads the secret of a file.
func loadSecret(path string, log *slog.Logger) (mtproxy.Secret, error) {
	text, err := readSecretFile(path, log)
	if err != nil {
		return mtproxy.Secret{}, &ConfigError{"state", err}
	}
	secret, err := mtproxy.ParseSecret(strings.TrimSpace(string(text)))
	if err != nil {
		return mtproxy.Secret{}, configError("state",
			"%s: %w; restore the secret, or remove the file to have a new one generated, which breaks all links given out", path, err)
	}
	return secret, nil
}

func readSecretFile(path string, log *slog.Logger) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// Windows has no such bits.
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		log.Warn("other users may read the secret", "file", path, "fix", "chmod 600")
	}
	return io.ReadAll(io.LimitReader(f, maxSecretFile))
}

// generateSecret generates a secret and writes it to the file in dir. If there is a
// file, the error is fs.ErrExist.
func generateSecret(dir, domain string) (mtproxy.Secret, error) {
	if domain == "" {
		domain = DefaultDomain
	}
	secret, err := mtproxy.NewSecret(nil, mtproxy.FakeTLS, domain)
	if err != nil {
		return mtproxy.Secret{}, &ConfigError{"domain", err}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return mtproxy.Secret{}, notKept(err)
	}
	err = writeNew(filepath.Join(dir, secretFile), secret.String()+"\n")
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = notKept(err)
	}
	return secret, err
}

func notKept(err error) error {
	return configError("state", "the generated secret cannot be kept: %w; choose another directory, or configure a secret", err)
}

// writeNew creates a file that only its owner can read. The file is complete as
// soon as it has its name, also after a crash. If there is a file of that name, the
// error is fs.ErrExist.
func writeNew(path, text string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// A hard link, unlike a rename, does not replace an existing file.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDirectory(dir)
}

// syncDirectory makes the names of new files survive a power failure. Windows does
// not provide that.
func syncDirectory(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// withDomain returns a FakeTLS secret with the key of secret and another domain, or
// secret if domain is "".
func withDomain(secret mtproxy.Secret, domain string, log *slog.Logger) (mtproxy.Secret, error) {
	if domain == "" || secret.Mode == mtproxy.FakeTLS && secret.Domain == domain {
		return secret, nil
	}
	changed := mtproxy.Secret{Mode: mtproxy.FakeTLS, Key: secret.Key, Domain: domain}
	if _, err := changed.MarshalText(); err != nil {
		return mtproxy.Secret{}, &ConfigError{"domain", err}
	}
	log.Warn("the kept secret is for another domain: links with that one no longer work", "kept", secret.Domain, "now", domain)
	return changed, nil
}
