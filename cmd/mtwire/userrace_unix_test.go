//go:build unix

package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mtwire user set, disable and enable change a user only as they have read it: if another
// operator changes it between the two requests, they fail, and the error tells that.
func TestChangesDependOnWhatWasRead(t *testing.T) {
	dir, err := os.MkdirTemp("", "race")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "a.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	// The proxy has tag 1 when the user is read, and tag 2 when it is changed.
	matches := make(chan string, 10)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/users/alice", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"1"`)
		fmt.Fprint(w, `{"name": "alice", "enabled": true, "time_zone": "UTC"}`)
	})
	mux.HandleFunc("PATCH /v1/users/alice", func(w http.ResponseWriter, r *http.Request) {
		matches <- r.Header.Get("If-Match")
		w.WriteHeader(http.StatusPreconditionFailed)
		fmt.Fprint(w, `{"title": "Precondition Failed", "status": 412, "detail": "it has changed since"}`)
	})
	server := &http.Server{Handler: mux}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	for _, command := range []string{"set alice --note x", "disable alice", "enable alice"} {
		cmd := exec.Command("mtwire", append([]string{"user"}, strings.Fields(command+" --socket "+socket)...)...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), "mtwire: alice: it has changed meanwhile, perhaps by another operator") {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		select {
		case match := <-matches:
			if match != `"1"` {
				t.Errorf("%s: If-Match is %q", command, match)
			}
		default:
			t.Errorf("%s: the user was not to be changed", command)
		}
	}
}
