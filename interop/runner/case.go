package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mtwire/mtwire/interop/process"
	"github.com/mtwire/mtwire/mtwiretest"
)

// testCase is a line of a client's cases. clients/README.md documents its
// fields.
type testCase struct {
	Name      string `json:"name"`
	Transport string `json:"transport"`
	Endpoint  string `json:"endpoint"`
	Secret    string `json:"secret"`
	Scheme    string `json:"scheme"`
	DC        int    `json:"dc"`
	Timeout   int    `json:"timeout"`
	// LoadTimeout replaces Timeout with --load.
	LoadTimeout int    `json:"load_timeout"`
	Leaks       bool   `json:"leaks"`
	Upgrades    bool   `json:"upgrades"`
	Alone       bool   `json:"alone"`
	Expect      expect `json:"expect"`

	line []byte // as in the file
}

// expect is what the data centre must report about a case's connection.
type expect struct {
	Tag       *string `json:"tag"`
	DC        *int    `json:"dc"`
	Transport string  `json:"transport"`
	Request   string  `json:"request"`
	Hello     int     `json:"hello"`
}

// The endpoints.
const (
	endpointProxy   = "proxy"
	endpointDC      = "dc"
	endpointSession = "session"
	endpointOwn     = "own"
)

// secrets are the clients' secrets, by their names in cases.
var secrets = map[string]string{
	"none":  "",
	"plain": mtwiretest.PlainSecret,
	"dd":    mtwiretest.PaddedSecret,
	"ee":    mtwiretest.FakeTLSSecret,
}

// paths are the paths of URLs for clients without a secret, by scheme.
var paths = map[string]string{
	"tcp":   "",
	"ws":    "/apiws",
	"wss":   "/apiws",
	"http":  "/api",
	"https": "/api",
}

// casesTimeout bounds a program that lists a client's cases.
const casesTimeout = 30 * time.Second

// cases reads the client's cases.
func (c *client) cases(ctx context.Context) (all []testCase, err error) {
	path := filepath.Join(c.Source, "cases")
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	var text []byte
	if info.Mode()&0o111 == 0 {
		text, err = os.ReadFile(path)
	} else {
		ctx, cancel := context.WithTimeout(ctx, casesTimeout)
		defer cancel()
		var stdout bytes.Buffer
		cmd := process.Command(ctx, path)
		cmd.Dir, cmd.Stdout, cmd.Stderr = c.Source, &stdout, os.Stderr
		err = process.Run(cmd)
		text = stdout.Bytes()
	}
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		t, err := parseCase(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", lines.Text(), err)
		}
		all = append(all, t)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no cases", c.Name)
	}
	return all, lines.Err()
}

func parseCase(line []byte) (testCase, error) {
	t := testCase{Endpoint: endpointProxy, Secret: "none", Scheme: "tcp", DC: 2, Timeout: 30, line: bytes.Clone(line)}
	if err := json.Unmarshal(line, &t); err != nil {
		return t, err
	}
	_, known := secrets[t.Secret]
	_, connectable := paths[t.Scheme]
	switch {
	case t.Name == "" || t.Transport == "":
		return t, errors.New("name or transport is missing")
	case !known:
		return t, fmt.Errorf("unknown secret %q", t.Secret)
	case !connectable:
		return t, fmt.Errorf("unknown scheme %q", t.Scheme)
	case (t.Leaks || t.Upgrades) && (t.Secret == "none" || t.Endpoint == endpointDC):
		return t, errors.New("leaks or upgrades is set without a proxy")
	case t.Leaks && t.Upgrades:
		return t, errors.New("leaks and upgrades are set: leaks looks at one process")
	case t.Upgrades && t.Endpoint != endpointSession:
		return t, errors.New("upgrades is set without a session")
	}
	switch t.Endpoint {
	case endpointProxy, endpointOwn:
		if t.Secret == "none" {
			return t, errors.New("a proxy needs a secret")
		}
	case endpointDC, endpointSession:
	default:
		return t, fmt.Errorf("unknown endpoint %q", t.Endpoint)
	}
	return t, nil
}
