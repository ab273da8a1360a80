package netx

import (
	"net"
	"strconv"
	"testing"
)

func TestHostAndPortAreSplit(t *testing.T) {
	for address, want := range map[string]struct {
		host string
		port uint16
	}{
		"192.0.2.1:443":        {"192.0.2.1", 443},
		"[2001:db8::1]:65535":  {"2001:db8::1", 65535},
		"[fe80::1%eth0]:1":     {"fe80::1%eth0", 1},
		"proxy.example.com:80": {"proxy.example.com", 80},
		"прокси.рф:8443":       {"прокси.рф", 8443},
		"_a-b.example:1":       {"_a-b.example", 1},
	} {
		host, port, err := SplitHostPort(address)
		if host != want.host || port != want.port || err != nil {
			t.Errorf("%s: %q, %d, %v", address, host, port, err)
		}
	}
}

// Refusals have constant texts, so none of them can quote a password.
func TestRefusedAddressesAreNotQuoted(t *testing.T) {
	texts := make(map[string]string)
	for _, address := range []string{
		"", "host", ":443", "host:", "[]:443", "2001:db8::1", "[2001:db8::1]", "a:b:443",
		"user:secret@host:443", "user@host:443", "socks5://host:1080", "host/path:443", "a host:443", "a\nhost:443", "a\x1b[31m:443", "a\xff:443", "[fe80::1%\xff]:443", "a\ufffd:443", "wr0ng!:443", "a=b:443", "a%62:443",
		"host:0", "host:65536", "host:-1", "host:+1", "host:https", "host:secret", "host: 1", "host:0x50",
	} {
		host, port, err := SplitHostPort(address)
		if err == nil {
			t.Errorf("%q is accepted: %q, %d", address, host, port)
			continue
		}
		if host != "" || port != 0 {
			t.Errorf("%q: %q, %d beside %v", address, host, port, err)
		}
		texts[err.Error()] = address
	}
	if len(texts) != 3 {
		t.Errorf("%d texts, want 3: %v", len(texts), texts)
	}
}

// An address that is accepted can be put together again.
func FuzzSplitHostPort(f *testing.F) {
	f.Add("192.0.2.1:443")
	f.Add("[2001:db8::1]:443")
	f.Add("user:secret@host:443")
	f.Fuzz(func(t *testing.T, address string) {
		host, port, err := SplitHostPort(address)
		if err != nil {
			return
		}
		joined := net.JoinHostPort(host, strconv.Itoa(int(port)))
		if again, same, err := SplitHostPort(joined); again != host || same != port || host == "" || port == 0 || err != nil {
			t.Errorf("%q is %q, %d, and then %q, %d, %v", address, host, port, again, same, err)
		}
	})
}

// An address is host:port, or an absolute path behind unix:.
func TestAddressesHaveANetwork(t *testing.T) {
	for text, want := range map[string][2]string{
		"example.com:443":     {"tcp", "example.com:443"},
		"[::1]:443":           {"tcp", "[::1]:443"},
		"unix:/run/site.sock": {"unix", "/run/site.sock"},
		"unix:443":            {},
		"unix:":               {},
		"unix":                {},
		"/run/site.sock":      {},
		"":                    {},
	} {
		network, address, err := SplitNetwork(text)
		if network != want[0] || address != want[1] || (err == nil) != (network != "") {
			t.Errorf("%q: %q, %q, %v", text, network, address, err)
		}
	}
}
