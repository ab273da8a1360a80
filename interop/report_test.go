package interop

import (
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/mtwire/mtwire/mtwiretest"
)

// report collects a line for each case and prints them as a table.
type report struct {
	client, server string

	mu    sync.Mutex
	lines []string
}

// add adds a line for a case, which it fills in at the end of the case's test.
func (r *report) add(t *testing.T, transport, proved string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := len(r.lines)
	r.lines = append(r.lines, "")
	t.Cleanup(func() {
		result := "ok: " + proved
		if t.Failed() {
			result = "FAILED"
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lines[line] = fmt.Sprintf("%s\t%s\t%s\t%s", r.client, r.server, transport, result)
	})
}

func (r *report) print(t *testing.T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "client\tserver\ttransport\tresult")
	for _, line := range r.lines {
		fmt.Fprintln(w, line)
	}
	w.Flush()
	t.Logf("\n%s", text.String())
}

// certificate returns a server configuration with a self-signed certificate for
// 127.0.0.1, and a client configuration that trusts it.
func certificate(t testing.TB) (server, client *tls.Config) {
	server, client, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}
