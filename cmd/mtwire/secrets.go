package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/mtproxy"
)

// namedSecret is a secret and what logs and figures call those who use it.
type namedSecret struct {
	name   string
	secret mtproxy.Secret
}

// maxNameLen is the longest name of a secret, in bytes.
const maxNameLen = 64

// parseNamedSecrets reads all --secret flags. One without a name is called by
// its place among them, from 1. Errors tell that place, and nothing of what was
// not understood: a slip might make a part of a secret look like a name.
func parseNamedSecrets(texts []string) ([]namedSecret, error) {
	var secrets []namedSecret
	places := make(map[string]int)
	for i, text := range texts {
		name, secret, err := parseNamedSecret(text)
		if err != nil {
			return nil, fmt.Errorf("--secret: number %d: %w", i+1, err)
		}
		if name == "" {
			name = strconv.Itoa(i + 1)
		}
		if before, ok := places[name]; ok {
			return nil, fmt.Errorf("--secret: numbers %d and %d are both called %q", before, i+1, name)
		}
		places[name] = i + 1
		secrets = append(secrets, namedSecret{name, secret})
	}
	return secrets, nil
}

// parseNamedSecret reads SECRET or NAME=SECRET; the name is "" if there is
// none. A text that is a secret as a whole is one: base64 may end in "=". It
// never has one before its end, so no NAME=SECRET is taken for a secret.
// Errors quote neither.
func parseNamedSecret(text string) (name string, secret mtproxy.Secret, err error) {
	secret, err = mtproxy.ParseSecret(text)
	if err == nil {
		return "", secret, nil
	}
	name, rest, found := strings.Cut(text, "=")
	if !found || strings.Trim(rest, "=") == "" {
		return "", mtproxy.Secret{}, err
	}
	if !goodName(name) {
		return "", mtproxy.Secret{}, fmt.Errorf("bad name before the =: want 1 to %d letters of English, digits, dots, dashes or underscores", maxNameLen)
	}
	if secret, err = mtproxy.ParseSecret(rest); err != nil {
		return "", mtproxy.Secret{}, err
	}
	return name, secret, nil
}

func goodName(name string) bool {
	return name != "" && len(name) <= maxNameLen && !strings.ContainsFunc(name, func(r rune) bool {
		return !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_' || r == '.' || r == '-')
	})
}
