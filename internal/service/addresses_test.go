package service

import (
	"encoding"
	"fmt"
	"strings"
	"testing"
)

// unmarshal returns the value of a text that parses.
func unmarshal[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](t *testing.T, text string) (value T) {
	t.Helper()
	if err := P(&value).UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestAddressesArePrintedAsTheyAreParsed(t *testing.T) {
	for text, got := range map[string]any{
		"127.0.0.1:443":                                   unmarshal[FrontAddress](t, "127.0.0.1:443"),
		"www.example.com=127.0.0.1:443":                   unmarshal[FrontAddress](t, "Www.Example.com=127.0.0.1:443"),
		"unix:/run/a=b.sock":                              unmarshal[FrontAddress](t, "unix:/run/a=b.sock"),
		"example.com=unix:/run/a=b.sock?proxy-protocol=1": unmarshal[FrontAddress](t, "Example.com=unix:/run/a=b.sock?proxy-protocol=1"),
		"127.0.0.2:443?proxy-protocol=2":                  unmarshal[FrontAddress](t, "127.0.0.2:443?proxy-protocol=2"),
		"2=[2001:db8::1]:443":                             unmarshal[DataCenterAddress](t, "2=[2001:db8::1]:443"),
		"-10002=dc.example.com:443":                       unmarshal[DataCenterAddress](t, "-10002=dc.example.com:443"),
		"*=127.0.0.1:443":                                 unmarshal[DataCenterAddress](t, "*=127.0.0.1:443"),
		"unix":                                            unmarshal[TrustedPeer](t, "unix"),
		"198.51.100.1:443":                                unmarshal[FrontAddress](t, "198.51.100.1"),
		"example.com=site.example:443?proxy-protocol=2":   unmarshal[FrontAddress](t, "example.com=site.example?proxy-protocol=2"),
		"[2001:db8::2]:443":                               unmarshal[FrontAddress](t, " [2001:db8::2] "),
		"1=198.51.100.1:443":                              unmarshal[DataCenterAddress](t, "1=198.51.100.1"),
		"3=[2001:db8::3]:443":                             unmarshal[DataCenterAddress](t, "3=2001:db8::3"),
		"*=dc.example.com:443":                            unmarshal[DataCenterAddress](t, " *=dc.example.com"),
		"192.0.2.1":                                       unmarshal[TrustedPeer](t, "192.0.2.1"),
		"10.0.0.0/8":                                      unmarshal[TrustedPeer](t, "10.1.2.3/8"),
		"2001:db8::1":                                     unmarshal[TrustedPeer](t, "2001:db8::1/128"),
	} {
		if fmt.Sprint(got) != text {
			t.Errorf("%v, want %s", got, text)
		}
	}
}

func TestInvalidAddressesAreErrorsThatTellWhatIsWrong(t *testing.T) {
	var front FrontAddress
	var dc DataCenterAddress
	var peer TrustedPeer
	for _, test := range []struct {
		value encoding.TextUnmarshaler
		text  string
		want  string
	}{
		{&front, "", "want host:port"},
		{&front, "127.0.0.1:", "want host:port"},
		{&front, "0.0.0.0", "want host:port"},
		{&front, "example.com=", "want host:port"},
		{&front, "example.com=127.0.0.1:0", "the port is not a number from 1 to 65535"},
		{&front, "https://example.com:443", "want host:port"},
		{&front, "=127.0.0.1:443", "the domain before the = is empty"},
		{&front, "unix:site.sock", "want an absolute path"},
		{&front, "example.com=unix:", "want an absolute path"},
		{&front, "127.0.0.1:443?proxy-protocol=3", "the PROXY protocol has versions 1 and 2"},
		{&front, "127.0.0.1:443?proxy-protocol=", "the PROXY protocol has versions 1 and 2"},
		{&front, "127.0.0.1:443?weight=3", "the only parameter is proxy-protocol=1 or proxy-protocol=2"},
		{&front, "127.0.0.1:443?proxy-protocol=1&proxy-protocol=2", "the only parameter is proxy-protocol=1 or proxy-protocol=2"},
		{&front, "127.0.0.1:443?", "the only parameter is proxy-protocol=1 or proxy-protocol=2"},
		{&dc, "2", "want ID=HOST:PORT"},
		{&dc, "two=127.0.0.1:1", `bad DC "two"`},
		{&dc, "=127.0.0.1:1", `bad DC ""`},
		{&dc, "0=127.0.0.1:1", "no data centre has number 0"},
		{&dc, "2=", "want host:port"},
		{&dc, "2=127.0.0.1:", "want host:port"},
		{&dc, "2=two hosts", "want host:port"},
		{&dc, "2=127.0.0.1:65536", "the port is not a number from 1 to 65535"},
		{&dc, "2=me@host:443", "a character that no host name has"},
		{&peer, "nowhere", "want an IP address"},
		{&peer, "", "want an IP address"},
	} {
		err := test.value.UnmarshalText([]byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), fmt.Sprintf("%q", test.text)) {
			t.Errorf("%T %q: %v", test.value, test.text, err)
		}
	}
	if front != (FrontAddress{}) || dc != (DataCenterAddress{}) || peer != (TrustedPeer{}) {
		t.Error("errors change the values:", front, dc, peer)
	}
}
