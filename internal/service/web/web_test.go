package web

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// Panics are in the log for both versions of HTTP, without the client's address.
func TestPanicsAreLogged(t *testing.T) {
	for _, line := range []string{"http: panic serving 192.0.2.7:1: x\nstack", "http2: panic serving 192.0.2.7:1: x\nstack"} {
		var log bytes.Buffer
		panics{slog.New(slog.NewTextHandler(&log, nil))}.Write([]byte(line))
		if got := log.String(); !strings.Contains(got, "stack=stack") || strings.Contains(got, "192.0.2.7") {
			t.Errorf("%q: %q", line, got)
		}
	}
}
