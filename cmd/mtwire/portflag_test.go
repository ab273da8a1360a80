package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service"
)

// --port 443 is --listen :443. Both may be given, in any order, and together replace
// the default.
func TestPortIsAnAddressToListenOn(t *testing.T) {
	for want, args := range map[string][]string{
		":8443":             nil,
		":443":              {"--port", "443"},
		":443,:8080":        {"--port=443", "--port=8080"},
		"127.0.0.1:80,:443": {"--listen", "127.0.0.1:80", "--port", "443"},
		":443,127.0.0.1:80": {"--port", "443", "--listen", "127.0.0.1:80"},
	} {
		f := &proxyFlags{config: service.Default()}
		if err := parseFlags(f.define, args...); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, address := range f.config.Listen {
			got = append(got, address.String())
		}
		if !slices.Equal(got, strings.Split(want, ",")) {
			t.Errorf("%q: %q, want %s", args, got, want)
		}
	}
	for _, text := range []string{"", "0", "65536", "https", "-1", ":443"} {
		if err := parseFlags((&proxyFlags{config: service.Default()}).define, "--port", text); err == nil {
			t.Errorf("%q is a port", text)
		}
	}
}
