package service

import (
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/proxy"
)

const (
	// secretsVariable and upstreamsVariable are the environment variables with a
	// list of secrets and of upstreams.
	secretsVariable   = "MTWIRE_SECRETS"
	upstreamsVariable = "MTWIRE_UPSTREAMS"

	// secretsCredential and upstreamsCredential are the same as credentials of
	// systemd: files in the directory of credentialsVariable.
	// Specification: https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#LoadCredential=ID:PATH
	secretsCredential   = "secrets"
	upstreamsCredential = "upstreams"
	credentialsVariable = "CREDENTIALS_DIRECTORY"

	// maxListFile limits the size of a list in bytes: a hundred thousand secrets
	// with a name and a domain.
	maxListFile = 16 << 20
)

// credentialList is a setting whose values contain credentials, and where it is
// found. The command line is the worst place: every user of the machine can read
// it.
type credentialList struct {
	setting    string // of the file, such as "secrets"
	file       string // "" for none
	configured bool   // the configuration has values
	variable   string
	credential string
}

// secretList returns the secrets of the configuration and of its file. If it has
// neither, they are those of MTWIRE_SECRETS, or else of systemd's credential. None
// means the kept secret.
func (c *Config) secretList(log *slog.Logger) ([]NamedSecret, error) {
	more, err := parseCredentials[NamedSecret](credentialList{
		"secrets", c.SecretsFile, len(c.Secrets)+len(c.Users) > 0, secretsVariable, secretsCredential}, log)
	return slices.Concat(c.Secrets, more), err
}

// upstreamList is secretList for upstreams, whose URLs may have a password or a
// secret.
func (c *Config) upstreamList(log *slog.Logger) ([]proxy.Upstream, error) {
	more, err := parseCredentials[proxy.Upstream](credentialList{
		"upstreams", c.UpstreamsFile, len(c.Upstreams) > 0, upstreamsVariable, upstreamsCredential}, log)
	return slices.Concat(c.Upstreams, more), err
}

// parseCredentials returns the values of a list: those of the file, or if neither a
// file nor values are configured, those of the variable, or of the credential.
func parseCredentials[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](list credentialList, log *slog.Logger) ([]T, error) {
	if list.file != "" {
		values, err := parseListFile[T, P](list.file, log)
		if err != nil {
			return nil, &ConfigError{list.setting, err}
		}
		return values, nil
	}
	if list.configured {
		return nil, nil
	}
	if text := os.Getenv(list.variable); text != "" {
		values, err := parseList[T, P](text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", list.variable, err)
		}
		return values, nil
	}
	dir := os.Getenv(credentialsVariable)
	if dir == "" {
		return nil, nil
	}
	values, err := parseListFile[T, P](filepath.Join(dir, list.credential), log)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the unit has other credentials, or none
	}
	if err != nil {
		return nil, fmt.Errorf("credential %s: %w", list.credential, err)
	}
	return values, nil
}

// ReadList returns the values in a file with credentials, one on each line; # begins a
// comment. The error tells all lines that are wrong, and quotes none. If others than its
// owner can read the file, the log has a warning.
func ReadList[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](path string, log *slog.Logger) ([]T, error) {
	return parseListFile[T, P](path, log)
}

func parseListFile[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](path string, log *slog.Logger) ([]T, error) {
	text, err := readSecretFile(path, maxListFile, log)
	if err != nil {
		return nil, err
	}
	values, err := parseList[T, P](string(text))
	if err != nil {
		return nil, inListFile(path, err)
	}
	return values, nil
}

// inListFile returns the error of parseList with the name of the file.
func inListFile(path string, err error) error {
	var wrong *listErrors
	if !errors.As(err, &wrong) {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, e := range wrong.all {
		e.file = path
	}
	return err
}

// listError is what is wrong with one value of a list.
type listError struct {
	file         string // "" for none
	line, column int    // from 1; a column is a character
	err          error
}

// Error returns FILE:LINE:COLUMN: what is wrong, or line LINE: what is wrong.
func (e *listError) Error() string {
	if e.file == "" {
		return fmt.Sprintf("line %d: %v", e.line, e.err)
	}
	return fmt.Sprintf("%s:%d:%d: %v", e.file, e.line, e.column, e.err)
}

func (e *listError) Unwrap() error { return e.err }

// listErrors are what is wrong with a list, in its order.
type listErrors struct {
	all  []*listError
	more int // how many others there are
}

// maxListErrors limits how many errors of a list are kept.
const maxListErrors = 20

// Error returns a line for each error.
func (e *listErrors) Error() string {
	lines := make([]string, 0, len(e.all)+1)
	for _, err := range e.all {
		lines = append(lines, err.Error())
	}
	if e.more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more errors", e.more))
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors.
func (e *listErrors) Unwrap() (all []error) {
	for _, err := range e.all {
		all = append(all, err)
	}
	return all
}

func (e *listErrors) add(err *listError) {
	if len(e.all) == maxListErrors {
		e.more++
		return
	}
	e.all = append(e.all, err)
}

// parseList parses values with white space or commas between them. A line may end
// in a comment, which begins with # where a value could begin. NAME = VALUE is
// NAME=VALUE. A list without values is an error: an empty file is more likely to be
// a mistake than a wish.
//
// The error is a *listErrors if values are wrong. It quotes nothing if the errors of T do
// not.
func parseList[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](text string) (values []T, err error) {
	number := 0
	wrong := new(listErrors)
	for line := range strings.Lines(text) {
		number++
		for _, field := range listFields(line) {
			var value T
			if err := P(&value).UnmarshalText([]byte(field.text)); err != nil {
				wrong.add(&listError{"", number, utf8.RuneCountInString(line[:field.start]) + 1, err})
				continue
			}
			values = append(values, value)
		}
	}
	switch {
	case len(wrong.all) > 0:
		return nil, wrong
	case len(values) == 0:
		return nil, errEmptyList
	}
	return values, nil
}

var errEmptyList = errors.New("nothing is in it")

// listField is a value of a line, as text.
type listField struct {
	start int // in the line, in bytes
	text  string
}

// listFields returns the values of a line.
func listFields(line string) (fields []listField) {
	const between = " \t\r\n,\ufeff"
	joins := false // the next word is the rest of the field
	for start := 0; start < len(line); {
		if first, size := utf8.DecodeRuneInString(line[start:]); strings.ContainsRune(between, first) {
			start += size
			continue
		}
		word := line[start:]
		if end := strings.IndexAny(word, between); end >= 0 {
			word = word[:end]
		}
		last := len(fields) - 1
		switch {
		case word[0] == '#':
			return fields
		case word == "=" && last >= 0 && !joins:
			fields[last].text += "="
			joins = true
		case joins:
			fields[last].text += word
			joins = false
		default:
			fields = append(fields, listField{start, word})
		}
		start += len(word)
	}
	return fields
}

var errTooLong = errors.New("the file is too long")

// readSecretFile reads a file that only its owner should be able to read, of at
// most limit bytes. One that is being written is read when that is over: see
// config.ReadFile.
func readSecretFile(path string, limit int64, log *slog.Logger) ([]byte, error) {
	text, err := config.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil {
		warnOfReaders(path, info, log)
	}
	if int64(len(text)) > limit {
		err = &fs.PathError{Op: "read", Path: path, Err: errTooLong}
	}
	return text, err
}

// warnOfReaders warns if other users of the machine may read a file.
func warnOfReaders(path string, info fs.FileInfo, log *slog.Logger) {
	// Windows has no such bits. A pipe is read once, as of a shell's <(command).
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		log.Warn("other users may read the secret", "file", path, "fix", "chmod 600")
	}
}
