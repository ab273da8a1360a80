package main

import (
	"encoding/json"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

func init() {
	scriptCommands["etag"] = setETag
	scriptCommands["notserved"] = notServed
	scriptCommands["envsubst"] = substitute
}

// envsubst FROM TO copies a file, with the values of variables in place of ${NAME}.
func substitute(ts *testscript.TestScript, _ bool, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// etag FILE NAME sets the environment variable NAME to the entity tag of a user that mtwire
// user show --json has printed to FILE.
func setETag(ts *testscript.TestScript, neg bool, args []string) {
	var document struct{ ETag string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &document))
	if neg || document.ETag == "" {
		ts.Fatalf("no entity tag")
	}
	ts.Setenv(args[1], document.ETag)
}

// notserved FILE asks each link in a file that mtwire has printed links to, once: none is
// answered.
func notServed(ts *testscript.TestScript, neg bool, args []string) {
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		fields := strings.Fields(line)
		ask(ts, !neg, fields[len(fields)-1:])
	}
}
