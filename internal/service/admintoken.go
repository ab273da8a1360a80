package service

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/mtwire/mtwire/internal/netx"
)

const (
	// tokenVariable and tokenCredential are other places of the token.
	tokenVariable   = "MTWIRE_ADMIN_TOKEN"
	tokenCredential = "admin-token"

	// minToken and maxToken limit the length of the token, in bytes.
	minToken, maxToken = 16, 1024
)

// adminToken is the token of requests over TCP. If it is from a file, it is read again
// when the file has changed: a token is replaced without a restart. Nil has none. Its
// methods may be called concurrently.
type adminToken struct {
	path string // "" if it is not from a regular file
	log  *slog.Logger

	mu      sync.Mutex
	token   string
	seen    fs.FileInfo // of the file, before it was read last; nil if it was missing
	problem string      // why the file was not used last, as logged; "" for none
}

// openAdminToken returns the token: that of the file, or of the variable, or of
// systemd's credential. Without a TCP address it is nil, and the file is not read.
func (c *Config) openAdminToken(log *slog.Logger) (*adminToken, error) {
	if addresses, _ := c.adminAddresses(); !slices.ContainsFunc(addresses, func(a AdminAddress) bool { return strings.HasPrefix(a.Network, "tcp") }) {
		if c.AdminTokenFile != "" {
			log.Warn("the token is not used: no address of the admin listener is on TCP", "file", c.AdminTokenFile)
		}
		return nil, nil
	}
	t := &adminToken{path: c.AdminTokenFile, token: strings.TrimSpace(os.Getenv(tokenVariable)), log: log}
	if t.path == "" && t.token == "" {
		if dir := os.Getenv(credentialsVariable); dir != "" {
			t.path = filepath.Join(dir, tokenCredential)
		}
	}
	err := checkToken(t.token)
	if t.path != "" {
		t.seen, _ = os.Stat(t.path)
		if t.token, err = readToken(t.path, log); errors.Is(err, fs.ErrNotExist) && c.AdminTokenFile == "" {
			err = errNoToken // the unit has other credentials
		}
		if t.seen != nil && !t.seen.Mode().IsRegular() { // a pipe is read once
			t.path = ""
		}
	}
	if err != nil {
		return nil, &ConfigError{"admin-token-file", err}
	}
	return t, nil
}

var errNoToken = errors.New("an admin listener on TCP needs a token, also on loopback: every program of the machine can connect to it")

var errNoTokenFile = errors.New("it is no regular file")

// checkToken returns what is wrong with a token. It does not quote the token.
func checkToken(token string) error {
	switch {
	case token == "":
		return errNoToken
	case len(token) < minToken || len(token) > maxToken:
		return fmt.Errorf("the token has %d bytes: want %d to %d, as of openssl rand -hex 32", len(token), minToken, maxToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("the token must be one line without space, of ASCII")
	}
	return nil
}

func readToken(path string, log *slog.Logger) (string, error) {
	text, err := readSecretFile(path, maxToken+2, log)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	return token, checkToken(token)
}

// current returns the token as it is now. If the file is missing, or what is in it is no
// token, that is logged once, and the token is the one before.
func (t *adminToken) current() string {
	if t == nil {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.path == "" {
		return t.token
	}
	info, err := os.Stat(t.path)
	if err == nil && t.problem == "" && sameFile(info, t.seen) {
		return t.token
	}
	token := ""
	switch t.seen = info; {
	case err != nil:
	case !info.Mode().IsRegular(): // requests would wait for the writer of a FIFO
		err = errNoTokenFile
	default:
		token, err = readToken(t.path, t.log)
	}
	switch problem := netx.Readable(err); {
	case err == nil:
		if t.problem = ""; token != t.token {
			t.token = token
			t.log.Info("read the token of the admin listener again", "file", t.path)
		}
	case problem.Error() != t.problem:
		t.problem = problem.Error()
		t.log.Warn("the token of the admin listener cannot be read: the one before is in force", "file", t.path, "error", problem)
	}
	return t.token
}

// sameFile reports whether a file has not changed.
func sameFile(a, b fs.FileInfo) bool {
	return b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}
