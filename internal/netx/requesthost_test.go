package netx

import (
	"net/http"
	"net/url"
	"testing"
)

// The port is left out if it is the scheme's.
func TestTakeHost(t *testing.T) {
	for text, want := range map[string]string{
		"https://dc.example:443/apiw": "dc.example", "https://dc.example/": "dc.example",
		"wss://dc.example:443/apiws": "dc.example", "ws://dc.example:80/": "dc.example",
		"http://[2001:db8::1]:80/api": "[2001:db8::1]", "http://[2001:db8::1]/api": "[2001:db8::1]",
		"http://dc.example:443/api": "dc.example:443", "wss://dc.example:80/": "dc.example:80",
		"https://[2001:db8::1]:8443/api": "[2001:db8::1]:8443",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := TakeHost(nil, u); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
		header := http.Header{"Host": {"front.example"}, "Origin": {"https://dc.example"}}
		if got := TakeHost(header, u); got != "front.example" || len(header) != 1 {
			t.Errorf("%s: %q with a Host in the header, which is now %v", text, got, header)
		}
	}
}
