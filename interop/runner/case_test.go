package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestInvalidCasesAreRejected(t *testing.T) {
	for _, line := range []string{
		``, `{}`, `{"name": "a"}`,
		`{"name": "a", "transport": "b"}`,
		`{"name": "a", "transport": "b", "secret": "what"}`,
		`{"name": "a", "transport": "b", "secret": "dd", "endpoint": "where"}`,
		`{"name": "a", "transport": "b", "endpoint": "dc", "scheme": "gopher"}`,
		`{"name": "a", "transport": "b", "secret": "dd", "endpoint": "dc", "leaks": true}`,
		`{"name": "a", "transport": "b", "endpoint": "session", "upgrades": true}`,
		`{"name": "a", "transport": "b", "secret": "dd", "endpoint": "session", "upgrades": true, "leaks": true}`,
	} {
		if _, err := parseCase([]byte(line)); err == nil {
			t.Errorf("%s is accepted", line)
		}
	}
	c, err := parseCase([]byte(`{"name": "a", "transport": "b", "secret": "dd", "expect": {"tag": "", "dc": -2}}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Endpoint != endpointProxy || c.Timeout != 30 || c.DC != 2 || *c.Expect.Tag != "" || *c.Expect.DC != -2 {
		t.Errorf("read %+v", c)
	}
}

func TestCasesRunAloneIfTheyOrTheirClientNeedIt(t *testing.T) {
	cases := []testCase{{Name: "one"}, {Name: "load", Alone: true}, {Name: "two"}}
	c := &client{Source: t.TempDir()}
	if parallel, alone := c.split(cases); len(parallel) != 2 || len(alone) != 1 || alone[0].Name != "load" {
		t.Errorf("parallel: %v; alone: %v", parallel, alone)
	}
	if err := os.WriteFile(filepath.Join(c.Source, "gui"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if parallel, alone := c.split(cases); len(parallel) != 0 || len(alone) != 3 {
		t.Errorf("with a window, parallel: %v; alone: %v", parallel, alone)
	}
}
