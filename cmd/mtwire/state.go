package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/mtwire/mtwire/mtproxy"
)

// defaultDomain is whose web site the connections of a secret made here look
// like, if the operator names none. It is reached from networks everywhere,
// and blocking it would hurt; it speaks TLS 1.3, and has much traffic; and a
// content network serves it out of very many places, so that no address is an
// absurd one for it. A name that really leads to the proxy's machine is better
// than any default, because then name and address agree.
const defaultDomain = "www.microsoft.com"

const (
	secretFile = "secret"
	// maxSecretFile is more than any secret takes, in bytes.
	maxSecretFile = 4096
)

// stateDirectory is where to keep what has to outlive a run: the directory of
// the --state flag, else the one systemd made for the service, else the
// user's.
func stateDirectory(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	// Several may be given, and the first is ours.
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" {
		return dir, nil
	}
	// The specification says to ignore a relative one.
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "mtwire"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", errors.New("no place to keep the secret: this user has no home directory; name a directory with --state, or a secret with --secret")
	}
	return filepath.Join(home, ".local", "state", "mtwire"), nil
}

// loadOrMakeSecret returns the secret kept in dir, and whether it is new. If
// there is none it makes one for FakeTLS with that domain, or defaultDomain if
// it is "", and keeps it. Of several runs that do so at once, one makes it and
// all return it.
//
// A domain other than the kept one takes its place for this run, with the same
// key. That breaks links with the old domain, as log is told; the file stays as
// it is, so that leaving out the flag undoes it.
//
// A file that cannot be read, or has no secret in it, is an error: a new secret
// in its place would break every link given out.
func loadOrMakeSecret(dir, domain string, log *slog.Logger) (secret mtproxy.Secret, made bool, err error) {
	path := filepath.Join(dir, secretFile)
	secret, err = loadSecret(path, log)
	if errors.Is(err, fs.ErrNotExist) {
		if secret, err = makeSecret(dir, domain); err == nil {
			return secret, true, nil
		}
		if errors.Is(err, fs.ErrExist) { // another run was faster
			secret, err = loadSecret(path, log)
		}
	}
	if err != nil {
		return mtproxy.Secret{}, false, err
	}
	secret, err = withDomain(secret, domain, log)
	return secret, false, err
}

// loadSecret reads a secret from a file.
func loadSecret(path string, log *slog.Logger) (mtproxy.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return mtproxy.Secret{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return mtproxy.Secret{}, err
	}
	// Windows has no such bits.
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		log.Warn("others may read the secret", "file", path, "fix", "chmod 600")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile))
	if err != nil {
		return mtproxy.Secret{}, err
	}
	secret, err := mtproxy.ParseSecret(strings.TrimSpace(string(text)))
	if err != nil {
		return mtproxy.Secret{}, fmt.Errorf("%s: %w; put the secret back, or remove the file to have a new one made, which breaks the links given out", path, err)
	}
	return secret, nil
}

// makeSecret makes a secret and keeps it in dir. It fails with fs.ErrExist if
// there is one.
func makeSecret(dir, domain string) (mtproxy.Secret, error) {
	if domain == "" {
		domain = defaultDomain
	}
	secret, err := mtproxy.NewSecret(nil, mtproxy.FakeTLS, domain)
	if err != nil {
		return mtproxy.Secret{}, fmt.Errorf("--domain: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return mtproxy.Secret{}, unkept(err)
	}
	err = writeNew(filepath.Join(dir, secretFile), secret.String()+"\n")
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = unkept(err)
	}
	return secret, err
}

func unkept(err error) error {
	return fmt.Errorf("the secret cannot be kept: %w; name another directory with --state, or a secret with --secret", err)
}

// writeNew makes a file that only its owner can read. The file has all of text
// from its first moment on, whoever else tries the same and whenever the
// machine stops. It fails with fs.ErrExist if there is one of that name.
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
	// A link, unlike a renaming, does not replace what is there.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDirectory(dir)
}

// syncDirectory has a new file's name survive a power cut. Windows offers no
// such thing.
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

// withDomain is a secret of the same key for another domain, if one is named.
func withDomain(secret mtproxy.Secret, domain string, log *slog.Logger) (mtproxy.Secret, error) {
	if domain == "" || secret.Mode == mtproxy.FakeTLS && secret.Domain == domain {
		return secret, nil
	}
	changed := mtproxy.Secret{Mode: mtproxy.FakeTLS, Key: secret.Key, Domain: domain}
	if _, err := changed.MarshalText(); err != nil {
		return mtproxy.Secret{}, fmt.Errorf("--domain: %w", err)
	}
	log.Warn("the kept secret is for another domain: links with that one no longer work", "kept", secret.Domain, "now", domain)
	return changed, nil
}
